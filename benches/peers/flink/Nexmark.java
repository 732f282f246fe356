import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.datagen.source.DataGeneratorSource;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.TableDescriptor;
import org.apache.flink.table.api.TableResult;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.runtime.typeutils.InternalTypeInfo;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.logical.RowType;

/**
 * The queries of NEXMark with Flink SQL, from a generator to a sink that drops the rows, with state on the heap.
 *
 * <p>{@code Nexmark QUERY EVENTS PARALLELISM} prints events a second, and the CPU seconds of the process per million of them, as JSON. Both
 * are counted from when Flink has planned and accepted the job. The settings are those with which Flink's own NEXMark runs: rows in
 * mini-batches, distinct aggregates split, objects used again.
 */
public final class Nexmark {
    private static final DataType PERSON = DataTypes.ROW(
        DataTypes.FIELD("id", DataTypes.BIGINT()),
        DataTypes.FIELD("name", DataTypes.STRING()),
        DataTypes.FIELD("email_address", DataTypes.STRING()),
        DataTypes.FIELD("credit_card", DataTypes.STRING()),
        DataTypes.FIELD("city", DataTypes.STRING()),
        DataTypes.FIELD("state", DataTypes.STRING()),
        DataTypes.FIELD("extra", DataTypes.STRING()));
    private static final DataType AUCTION = DataTypes.ROW(
        DataTypes.FIELD("id", DataTypes.BIGINT()),
        DataTypes.FIELD("item_name", DataTypes.STRING()),
        DataTypes.FIELD("description", DataTypes.STRING()),
        DataTypes.FIELD("initial_bid", DataTypes.BIGINT()),
        DataTypes.FIELD("reserve", DataTypes.BIGINT()),
        DataTypes.FIELD("expires", DataTypes.TIMESTAMP(3)),
        DataTypes.FIELD("seller", DataTypes.BIGINT()),
        DataTypes.FIELD("category", DataTypes.BIGINT()),
        DataTypes.FIELD("extra", DataTypes.STRING()));
    private static final DataType BID = DataTypes.ROW(
        DataTypes.FIELD("auction", DataTypes.BIGINT()),
        DataTypes.FIELD("bidder", DataTypes.BIGINT()),
        DataTypes.FIELD("price", DataTypes.BIGINT()),
        DataTypes.FIELD("channel", DataTypes.STRING()),
        DataTypes.FIELD("url", DataTypes.STRING()),
        DataTypes.FIELD("extra", DataTypes.STRING()));
    private static final DataType EVENT = DataTypes.ROW(
        DataTypes.FIELD("event_type", DataTypes.INT()),
        DataTypes.FIELD("person", PERSON),
        DataTypes.FIELD("auction", AUCTION),
        DataTypes.FIELD("bid", BID),
        DataTypes.FIELD("date_time", DataTypes.TIMESTAMP(3)));

    /** How many bids, bidders and auctions there are, by ranges of the price. */
    private static final String STATISTICS = "COUNT(*) AS total_bids, COUNT(*) FILTER (WHERE price < 10000) AS low_bids,"
        + " COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_bids, COUNT(*) FILTER (WHERE price >= 1000000) AS high_bids,"
        + distinct("bidder") + "," + distinct("auction");

    private static final Map<String, String> QUERIES = Map.ofEntries(
        Map.entry("q0", "SELECT auction, bidder, price, date_time, extra FROM bid"),
        Map.entry("q1", "SELECT auction, bidder, price * 0.908 AS price, date_time, extra FROM bid"),
        Map.entry("q2", "SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0"),
        Map.entry("q3", "SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id"
            + " WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')"),
        Map.entry("q4", "SELECT category, AVG(final) AS average FROM (SELECT a.id, a.category, MAX(b.price) AS final FROM auction a JOIN bid b"
            + " ON a.id = b.auction AND b.date_time BETWEEN a.date_time AND a.expires GROUP BY a.id, a.category) GROUP BY category"),
        Map.entry("q5", "SELECT c.auction, c.bids, c.window_start, c.window_end FROM (" + hot() + ") c JOIN (SELECT MAX(bids) AS most, window_start,"
            + " window_end FROM (" + hot() + ") GROUP BY window_start, window_end) m"
            + " ON c.window_start = m.window_start AND c.window_end = m.window_end AND c.bids = m.most"),
        Map.entry("q7", "SELECT b.auction, b.bidder, b.price, b.date_time FROM bid b JOIN (SELECT MAX(price) AS most, window_start, window_end FROM "
            + tumble("bid") + " GROUP BY window_start, window_end) m"
            + " ON b.price = m.most AND b.date_time >= m.window_start AND b.date_time < m.window_end"),
        Map.entry("q8", "SELECT p.id, p.name, p.window_start FROM (SELECT id, name, window_start, window_end FROM " + tumble("person")
            + " GROUP BY id, name, window_start, window_end) p JOIN (SELECT seller, window_start, window_end FROM " + tumble("auction")
            + " GROUP BY seller, window_start, window_end) a"
            + " ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end"),
        Map.entry("q11", "SELECT bidder, COUNT(*) AS bids, window_start, window_end FROM"
            + " TABLE(SESSION(TABLE bid PARTITION BY bidder, DESCRIPTOR(date_time), INTERVAL '10' SECOND)) GROUP BY bidder, window_start, window_end"),
        Map.entry("q12", "SELECT bidder, COUNT(*) AS bids, window_start, window_end FROM"
            + " TABLE(TUMBLE(TABLE arrival, DESCRIPTOR(read_time), INTERVAL '10' SECOND)) GROUP BY bidder, window_start, window_end"),
        Map.entry("q15", "SELECT CAST(date_time AS DATE) AS `day`, " + STATISTICS + " FROM bid GROUP BY CAST(date_time AS DATE)"),
        Map.entry("q16", "SELECT channel, CAST(date_time AS DATE) AS `day`, MAX(CAST(date_time AS TIMESTAMP(3))) AS `last`, " + STATISTICS
            + " FROM bid GROUP BY channel, CAST(date_time AS DATE)"),
        Map.entry("q17", "SELECT auction, CAST(date_time AS DATE) AS `day`, COUNT(*) AS total_bids,"
            + " COUNT(*) FILTER (WHERE price < 10000) AS low_bids,"
            + " COUNT(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_bids,"
            + " COUNT(*) FILTER (WHERE price >= 1000000) AS high_bids,"
            + " MIN(price) AS least, MAX(price) AS most, AVG(price) AS average, SUM(price) AS total"
            + " FROM bid GROUP BY auction, CAST(date_time AS DATE)"),
        Map.entry("q18", "SELECT auction, bidder, price, channel, url, date_time, extra FROM (SELECT *, ROW_NUMBER() OVER"
            + " (PARTITION BY bidder, auction ORDER BY date_time DESC) AS place FROM bid) WHERE place = 1"),
        Map.entry("q19", "SELECT auction, bidder, price, channel, url, date_time, extra, place FROM (SELECT *, ROW_NUMBER() OVER"
            + " (PARTITION BY auction ORDER BY price DESC) AS place FROM bid) WHERE place <= 10"),
        Map.entry("q20", "SELECT b.auction, b.bidder, b.price, b.channel, b.url, b.date_time, b.extra, a.item_name, a.description, a.initial_bid,"
            + " a.reserve, a.date_time AS opened, a.expires, a.seller, a.category FROM bid b JOIN auction a ON b.auction = a.id"
            + " WHERE a.category = 10"));

    public static void main(String[] args) throws Exception {
        if (args.length != 3 || !QUERIES.containsKey(args[0])) {
            System.err.println("usage: Nexmark QUERY EVENTS PARALLELISM; queries: " + String.join(" ", QUERIES.keySet()));
            System.exit(2);
        }
        long events = Long.parseLong(args[1]);
        int tasks = Integer.parseInt(args[2]);
        if (events % (tasks * NexmarkEvents.CHUNK) != 0) {
            System.err.println("EVENTS must be a multiple of " + tasks * NexmarkEvents.CHUNK);
            System.exit(2);
        }
        Configuration settings = new Configuration();
        settings.setString("state.backend.type", "hashmap");
        settings.setString("pipeline.object-reuse", "true");
        settings.setString("table.exec.mini-batch.enabled", "true");
        settings.setString("table.exec.mini-batch.allow-latency", "2 s");
        settings.setString("table.exec.mini-batch.size", "50000");
        settings.setString("table.optimizer.distinct-agg.split.enabled", "true");
        StreamExecutionEnvironment streams = StreamExecutionEnvironment.getExecutionEnvironment(settings);
        streams.setParallelism(tasks);
        StreamTableEnvironment tables = StreamTableEnvironment.create(streams);
        tables.getConfig().addConfiguration(settings);
        InternalTypeInfo<RowData> rows = InternalTypeInfo.of((RowType) EVENT.getLogicalType());
        var source = new DataGeneratorSource<>(new NexmarkEvents(events, tasks), events, rows);
        Schema schema = Schema.newBuilder().watermark("date_time", "date_time - INTERVAL '4' SECOND").build();
        tables.createTemporaryView("events", streams.fromSource(source, WatermarkStrategy.noWatermarks(), "events"), schema);
        tables.executeSql("CREATE TEMPORARY VIEW person AS SELECT person.id, person.name, person.email_address, person.credit_card, person.city,"
            + " person.state, date_time, person.extra FROM events WHERE event_type = 0");
        tables.executeSql("CREATE TEMPORARY VIEW auction AS SELECT auction.id, auction.item_name, auction.description, auction.initial_bid,"
            + " auction.reserve, date_time, auction.expires, auction.seller, auction.category, auction.extra FROM events WHERE event_type = 1");
        tables.executeSql("CREATE TEMPORARY VIEW bid AS SELECT bid.auction, bid.bidder, bid.price, bid.channel, bid.url, date_time, bid.extra"
            + " FROM events WHERE event_type = 2");
        tables.executeSql("CREATE TEMPORARY VIEW arrival AS SELECT bidder, PROCTIME() AS read_time FROM bid");
        var process = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        TableResult job = tables.sqlQuery(QUERIES.get(args[0])).executeInsert(TableDescriptor.forConnector("blackhole").build());
        long begun = System.nanoTime(), cpu = process.getProcessCpuTime();
        job.await();
        double second = TimeUnit.SECONDS.toNanos(1), millions = events / 1e6;
        double rate = events / ((System.nanoTime() - begun) / second), used = (process.getProcessCpuTime() - cpu) / second / millions;
        System.out.printf(Locale.ROOT, "{\"events/s\": %.0f, \"CPU s per million events\": %.3f}%n", rate, used);
    }

    private static String distinct(String column) {
        String count = " COUNT(DISTINCT " + column + ")";
        return count + " AS total_" + column + "s," + count + " FILTER (WHERE price < 10000) AS low_" + column + "s,"
            + count + " FILTER (WHERE price >= 10000 AND price < 1000000) AS middle_" + column + "s,"
            + count + " FILTER (WHERE price >= 1000000) AS high_" + column + "s";
    }

    private static String hot() {
        return "SELECT auction, COUNT(*) AS bids, window_start, window_end FROM TABLE(HOP(TABLE bid, DESCRIPTOR(date_time),"
            + " INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY auction, window_start, window_end";
    }

    private static String tumble(String table) {
        return "TABLE(TUMBLE(TABLE " + table + ", DESCRIPTOR(date_time), INTERVAL '10' SECOND))";
    }
}
