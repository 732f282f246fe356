import java.util.concurrent.TimeUnit;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/**
 * Counts words with Flink SQL, with a parallelism of 1 and state on the heap.
 *
 * <p>{@code WordCount BROKERS IN OUT throughput|latency mini-batch|record} counts from Kafka to Kafka until it is stopped. With mini-batch
 * it groups the records of 100 ms (throughput) or 10 ms (latency).
 *
 * <p>{@code WordCount hop RECORDS LENGTH SLIDE} counts generated words, 1,000 per second of event time, in sliding windows. It prints the
 * seconds that the job took.
 */
public final class WordCount {
    public static void main(String[] args) throws Exception {
        if (args.length == 4 && args[0].equals("hop")) {
            hop(args[1], args[2], args[3]);
        } else if (args.length == 5) {
            count(args[0], args[1], args[2], args[3], args[4]);
        } else {
            System.err.println("usage: WordCount BROKERS IN OUT throughput|latency mini-batch|record, or: WordCount hop RECORDS LENGTH SLIDE");
            System.exit(2);
        }
    }

    private static TableEnvironment environment(Configuration settings) {
        settings.setString("parallelism.default", "1");
        settings.setString("state.backend.type", "hashmap");
        return TableEnvironment.create(EnvironmentSettings.newInstance().inStreamingMode().withConfiguration(settings).build());
    }

    private static void count(String brokers, String in, String out, String mode, String how) throws Exception {
        String every = mode.equals("latency") ? "10 ms" : "100 ms";
        Configuration settings = new Configuration();
        if (how.equals("mini-batch")) {
            settings.setString("table.exec.mini-batch.enabled", "true");
            settings.setString("table.exec.mini-batch.allow-latency", every);
            settings.setString("table.exec.mini-batch.size", "100000");
        }
        settings.setString("execution.buffer-timeout.interval", mode.equals("latency") ? "1 ms" : "100 ms");
        TableEnvironment tables = environment(settings);
        tables.executeSql(
            "CREATE TABLE words (word STRING) WITH ('connector' = 'kafka', 'topic' = '" + in + "', 'properties.bootstrap.servers' = '" + brokers
                + "', 'properties.group.id' = '" + out + "', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json')");
        tables.executeSql(
            "CREATE TABLE counts (word STRING, `count` BIGINT, PRIMARY KEY (word) NOT ENFORCED) WITH ('connector' = 'upsert-kafka', 'topic' = '"
                + out + "', 'properties.bootstrap.servers' = '" + brokers + "', 'key.format' = 'json', 'value.format' = 'json')");
        tables.executeSql("INSERT INTO counts SELECT word, COUNT(*) FROM words GROUP BY word").await();
    }

    private static void hop(String records, String length, String slide) throws Exception {
        long last = Long.parseLong(records) - 1;
        TableEnvironment tables = environment(new Configuration());
        tables.executeSql(
            "CREATE TABLE words (id BIGINT, word INT, ts AS TO_TIMESTAMP_LTZ(id, 3), WATERMARK FOR ts AS ts) WITH ('connector' = 'datagen',"
                + " 'rows-per-second' = '100000000', 'fields.id.kind' = 'sequence', 'fields.id.start' = '0', 'fields.id.end' = '" + last
                + "', 'fields.word.min' = '0', 'fields.word.max' = '4999')");
        tables.executeSql("CREATE VIEW named AS SELECT ts, 'word ' || CAST(word AS STRING) AS word FROM words");
        tables.executeSql("CREATE TABLE nowhere (word STRING, n BIGINT) WITH ('connector' = 'blackhole')");
        long begun = System.nanoTime();
        tables.executeSql(
            "INSERT INTO nowhere SELECT word, COUNT(*) FROM TABLE(HOP(TABLE named, DESCRIPTOR(ts), INTERVAL '" + slide
                + "' SECOND(5), INTERVAL '" + length + "' SECOND(5))) GROUP BY window_start, window_end, word").await();
        System.out.printf("%.3f%n", (System.nanoTime() - begun) / (double) TimeUnit.SECONDS.toNanos(1));
    }
}
