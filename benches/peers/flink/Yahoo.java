import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.functions.FunctionContext;
import org.apache.flink.table.functions.ScalarFunction;

/**
 * The Yahoo streaming benchmark with Flink SQL, with state on the heap: views of advertisements by campaign in windows of ten seconds.
 *
 * <p>{@code Yahoo BROKERS IN OUT ADS PARALLELISM} counts from Kafka to Kafka until it is stopped. ADS has advertisements and their campaigns.
 */
public final class Yahoo {
    public static void main(String[] args) throws Exception {
        if (args.length != 5) {
            System.err.println("usage: Yahoo BROKERS IN OUT ADS PARALLELISM");
            System.exit(2);
        }
        String brokers = args[0];
        Configuration settings = new Configuration();
        settings.setString("parallelism.default", args[4]);
        settings.setString("state.backend.type", "hashmap");
        settings.setString("execution.buffer-timeout.interval", "100 ms");
        settings.setString("pipeline.auto-watermark-interval", "100 ms");
        TableEnvironment tables = TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
        tables.createTemporarySystemFunction("campaign_of", new CampaignOf(args[3]));
        tables.executeSql(
            "CREATE TABLE events (ad_id STRING, event_type STRING, event_time STRING, ts AS TO_TIMESTAMP_LTZ(CAST(event_time AS BIGINT), 3),"
                + " WATERMARK FOR ts AS ts - INTERVAL '0.1' SECOND(1)) WITH ('connector' = 'kafka', 'topic' = '" + args[1]
                + "', 'properties.bootstrap.servers' = '" + brokers + "', 'properties.group.id' = '" + args[2]
                + "', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json')");
        tables.executeSql(
            "CREATE TABLE counts (campaign STRING, `end` BIGINT, `count` BIGINT) WITH ('connector' = 'kafka', 'topic' = '" + args[2]
                + "', 'properties.bootstrap.servers' = '" + brokers + "', 'format' = 'json')");
        tables.executeSql(
            "CREATE VIEW seen AS SELECT ts, campaign_of(ad_id) AS campaign FROM events WHERE event_type = 'view'");
        tables.executeSql(
            "INSERT INTO counts SELECT campaign, UNIX_TIMESTAMP(CAST(window_end AS STRING)) * 1000, COUNT(*)"
                + " FROM TABLE(TUMBLE(TABLE seen, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY campaign, window_start, window_end").await();
    }

    /** The campaign of an advertisement: the static table of the join. */
    public static final class CampaignOf extends ScalarFunction {
        private final String file;
        private transient Map<String, String> campaigns;

        public CampaignOf(String file) {
            this.file = file;
        }

        @Override
        public void open(FunctionContext context) throws Exception {
            campaigns = new HashMap<>();
            for (String line : Files.readAllLines(Path.of(file))) {
                String[] parts = line.split("\t");
                campaigns.put(parts[0], parts[1]);
            }
        }

        public String eval(String ad) {
            return campaigns.get(ad);
        }
    }
}
