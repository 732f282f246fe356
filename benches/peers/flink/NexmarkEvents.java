import java.nio.charset.StandardCharsets;
import org.apache.flink.connector.datagen.source.GeneratorFunction;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.data.StringData;
import org.apache.flink.table.data.TimestampData;

/**
 * The events of the auction house, as rows of Flink's own kind: the same events as those of src/cli/generate/nexmark.rs, number by number,
 * of which this is the same program in another language.
 *
 * <p>A row has the kind of the event (0: person, 1: auction, 2: bid), a row of that kind, and its time. Chunks of events are seeded one by
 * one, so that several tasks can make the events of one house.
 */
public final class NexmarkEvents implements GeneratorFunction<Long, RowData> {
    static final long CHUNK = 500;
    static final long BEGIN_MS = 1_484_154_535_000L;
    private static final long SEED = 7;
    private static final long PER_MS = 10;
    private static final int LETTERS = 1 << 14;
    private static final long EPOCH = 50, AUCTIONS = 3, FIRST_ID = 1_000, ACTIVE_PEOPLE = 1_000, AUCTIONS_IN_FLIGHT = 100, HOT_EVERY = 100;
    private static final String[] HOT_CHANNELS = {"Google", "Facebook", "Baidu", "Apple"};
    private static final String[] FIRST = {"Ada", "Ben", "Cleo", "Dora", "Emil", "Finn", "Greta", "Hugo", "Iris", "Jonas", "Kaya"};
    private static final String[] LAST = {"Abel", "Brandt", "Castro", "Duarte", "Ekberg", "Ferrer", "Grant", "Holm", "Ito"};
    private static final String[] STATES = {"AZ", "CA", "ID", "OR", "WA", "WY"};
    private static final String[] CITIES = {
        "Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"
    };
    private static final String[] ITEMS = {"lamp", "clock", "chair", "atlas", "violin", "camera", "kettle", "compass", "globe", "radio"};

    private final long events;
    private final long tasks;
    private transient byte[] letters;
    private transient long random;

    /** {@code events} in all, by this many tasks; each task gets a run of numbers. */
    public NexmarkEvents(long events, long tasks) {
        this.events = events;
        this.tasks = tasks;
    }

    @Override
    public RowData map(Long index) {
        if (letters == null) {
            random = SEED;
            letters = new byte[LETTERS];
            for (int i = 0; i < LETTERS; i++) {
                letters[i] = (byte) ('a' + below(26));
            }
        }
        // A source gives each task a run of numbers. The tasks take chunks in turns instead, so that the time of all of them goes on alike.
        long each = events / tasks;
        long task = Math.min(index / each, tasks - 1);
        long own = index - task * each;
        long chunk = own / CHUNK * tasks + task;
        long number = chunk * CHUNK + own % CHUNK;
        if (own % CHUNK == 0) {
            random = SEED ^ (chunk * CHUNK * 0x9e3779b97f4a7c15L);
        }
        return event(number);
    }

    private RowData event(long number) {
        long atMs = BEGIN_MS + number / PER_MS;
        TimestampData time = TimestampData.fromEpochMillis(atMs);
        long place = number % EPOCH;
        if (place == 0) {
            return GenericRowData.of(0, person(number / EPOCH), null, null, time);
        }
        if (place <= AUCTIONS) {
            double horizon = (double) (atMs - BEGIN_MS) / number * (AUCTIONS_IN_FLIGHT * EPOCH / AUCTIONS);
            long length = 1 + below(2 * Math.max((long) horizon, 1));
            return GenericRowData.of(1, null, auction(number, TimestampData.fromEpochMillis(atMs + length)), null, time);
        }
        return GenericRowData.of(2, null, null, bid(number), time);
    }

    private long bits() {
        random += 0x9e3779b97f4a7c15L;
        long z = (random ^ (random >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }

    private double unit() {
        return (bits() >>> 11) / (double) (1L << 53);
    }

    private long below(long n) {
        long bits = bits();
        return Math.multiplyHigh(bits, n) + ((bits >> 63) & n); // n is positive, and the bits have no sign
    }

    private boolean oneIn(long n) {
        return below(n) == 0;
    }

    private String oneOf(String[] all) {
        return all[(int) below(all.length)];
    }

    private long price() {
        return Math.round(Math.pow(10, unit() * 6) * 100);
    }

    private long active(long number) {
        long people = number / EPOCH + 1;
        return people - 1 - below(Math.min(people, ACTIVE_PEOPLE));
    }

    private StringData extra(int bytes, int used) {
        int mean = Math.max(bytes - used, 0);
        int length = mean - mean / 5 + (int) below(2 * (mean / 5) + 1);
        int begin = (int) below(LETTERS - length);
        return StringData.fromBytes(letters, begin, length);
    }

    private RowData person(long id) {
        String first = oneOf(FIRST), last = oneOf(LAST);
        StringBuilder card = new StringBuilder();
        for (int i = 0; i < 4; i++) {
            String digits = Long.toString(below(10_000));
            card.append(i == 0 ? "" : " ").append("0000", digits.length(), 4).append(digits);
        }
        String name = first + " " + last, email = first.toLowerCase() + "." + last.toLowerCase() + "@mail.example";
        String city = oneOf(CITIES), state = oneOf(STATES);
        StringData extra = extra(200, 16 + name.length() + email.length() + card.length() + city.length() + state.length());
        return GenericRowData.of(FIRST_ID + id, text(name), text(email), text(card.toString()), text(city), text(state), extra);
    }

    private RowData auction(long number, TimestampData expires) {
        long epoch = number / EPOCH, place = number % EPOCH;
        long hot = epoch / HOT_EVERY * HOT_EVERY;
        long seller = oneIn(4) ? active(number) : hot;
        long initial = price();
        String item = oneOf(ITEMS);
        String description = item + " of " + below(100) + " years";
        long reserve = initial + price();
        long category = 10 + below(5);
        StringData extra = extra(500, 56 + item.length() + description.length());
        return GenericRowData.of(
            FIRST_ID + epoch * AUCTIONS + place - 1, text(item), text(description), initial, reserve, expires, FIRST_ID + seller, category, extra);
    }

    private RowData bid(long number) {
        long epoch = number / EPOCH;
        long auctions = (epoch + 1) * AUCTIONS;
        long auction = oneIn(2) ? (auctions - 1) / HOT_EVERY * HOT_EVERY : auctions - 1 - below(Math.min(auctions, AUCTIONS_IN_FLIGHT));
        long bidder = oneIn(4) ? active(number) : Math.min(epoch / HOT_EVERY * HOT_EVERY + 1, epoch);
        StringBuilder url = new StringBuilder("https://www.nexmark.example");
        for (int i = 0; i < 3; i++) {
            url.append('/');
            for (int j = 0; j < 3; j++) {
                url.append((char) ('a' + below(26)));
            }
        }
        url.append("/item.htm?query=1");
        String channel;
        if (oneIn(2)) {
            channel = oneOf(HOT_CHANNELS);
        } else {
            long of = below(10_000);
            if (!oneIn(10)) {
                url.append("&channel_id=").append(of);
            }
            channel = "channel-" + of;
        }
        long price = price();
        StringData extra = extra(100, 32 + channel.length());
        return GenericRowData.of(FIRST_ID + auction, FIRST_ID + bidder, price, text(channel), text(url.toString()), extra);
    }

    private static StringData text(String text) {
        return StringData.fromBytes(text.getBytes(StandardCharsets.ISO_8859_1));
    }
}
