//! Generated queries over generated rows: after each batch the result is what DataFusion says over all rows that are there, on 1, 2 and 4
//! workers, and after a restart. Rows of a stream only come; those of a view leave, too. Some tables are windows. PROPTEST_CASES sets another
//! number of queries.

use proptest::prelude::*;
use tidemill::cli::generate::Random;
use tidemill::prelude::*;
use tidemill::testing::{run, run_handed_over, run_restarted};
use tidemill_sql::{StreamTables, TableSession, Watermark};

#[allow(dead_code, reason = "other test programs use the rest")]
mod shared;

use shared::{cases, present};

/// A text, a number and a double, of which each may be null.
type Row = (Option<String>, Option<i64>, Option<F64>);

/// A row of a table, with its time in microseconds.
type Timed = (Option<String>, Option<i64>, Option<F64>, i64);

/// A row of `t` (false) or `u` (true) comes (1) or leaves (-1).
type Event = (bool, Timed, i64);

const SECOND: i64 = 1_000_000;

/// What tables are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Streams,
    /// Streams with a watermark of this many seconds.
    Watermarked(u64),
    /// Views, from which rows leave.
    Views,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Streams), Just(Kind::Watermarked(3)), Just(Kind::Views)]
}

/// How a job is interrupted.
#[derive(Clone, Copy, Debug)]
enum Restart {
    /// It ends in order after two batches.
    Ends,
    /// It fails after this batch.
    Fails(u64),
}

fn restart() -> impl Strategy<Value = Restart> {
    prop_oneof![1 => Just(Restart::Ends), 2 => (2..=BATCHES as u64).prop_map(Restart::Fails)]
}

/// A table of windows of another one, as a query, and as one for DataFusion, which has no overlapping windows.
#[derive(Clone, Debug)]
struct Windows {
    query: String,
    same: String,
}

/// The tables of windows.
const WINDOWS: [&str; 2] = ["v", "w"];

/// Makes queries that select a text `k`, a whole number `n` and a double `x`.
struct Queries {
    random: Random,
    aliases: u32,
}

impl Queries {
    fn new(seed: u64) -> Self {
        Queries { random: Random::new(seed), aliases: 0 }
    }

    /// A table of windows, which may overlap.
    fn windows(&mut self) -> Windows {
        let (table, slide, times) = (self.one_of(&["t", "u"]), 1 + self.below(9), 1 + self.below(3));
        let length = slide * times - self.below(2).min(slide * times - slide);
        let start = self.below(slide);
        let key = self.one_of(&["k", "k", "upper(k)", ""]);
        let n = self.one_of(&["count(*)", "count(n)", "sum(n)", "max(n)", "START"]);
        let x = self.one_of(&["sum(x)", "min(x)", "max(x)"]);
        let having = self.one_of(&["", "", " having count(*) > 1"]);
        let (k, comma) = if key.is_empty() { ("cast(null as string)", "") } else { (key, ", ") };
        let select = |start: &str| format!("select {k} as k, {} as n, {x} as x", n.replace("START", start));
        let query = format!(
            "{} from {table} group by window(at, '{length} seconds', '{slide} seconds', '{start} seconds'){comma}{key}{having}",
            select("cast(window.start as bigint)")
        );
        // Each row is in the window of its slide, and in those before it that are long enough.
        let back = (0..times).map(|n| format!("select {n} as back")).collect::<Vec<_>>().join(" union all ");
        let same = format!(
            "{} from (select k, n, x, cast(pane.start as bigint) - back * {} as start, cast(at as bigint) as moment
             from (select k, n, x, at, window(at, '{slide} seconds', '{slide} seconds', '{start} seconds') as pane from {table}) s
             cross join ({back}) b) r where moment < start + {} group by start{comma}{key}{having}",
            select("start"),
            slide as i64 * SECOND,
            length as i64 * SECOND,
        );
        Windows { query, same }
    }

    fn below(&mut self, n: usize) -> usize {
        self.random.below(n)
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        self.random.one_of(all)
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("q{}", self.aliases)
    }

    fn text(&mut self, of: &str) -> String {
        let form =
            self.one_of(&["{}.k", "{}.k", "upper({}.k)", "coalesce({}.k, 'none')", "nullif({}.k, 'a')", "cast({}.n as string)"]);
        form.replace("{}", of)
    }

    fn number(&mut self, of: &str) -> String {
        let form = self.one_of(&[
            "{}.n",
            "{}.n",
            "{}.n + 1",
            "{}.n * 2",
            "cast(length({}.k) as bigint)",
            "case when {}.x > 2 then {}.n end",
        ]);
        form.replace("{}", of)
    }

    fn double(&mut self, of: &str) -> String {
        self.one_of(&["{}.x", "{}.x", "{}.x * 2", "{}.x - 1", "cast({}.n as double)", "cast(null as double)"]).replace("{}", of)
    }

    fn condition(&mut self, of: &str) -> String {
        const PLAIN: [&str; 9] = [
            "{}.n > 2",
            "{}.x <= 3",
            "{}.k = 'b'",
            "{}.k is null",
            "{}.n is not null",
            "{}.k like '%b%'",
            "{}.n in (1, 3, null)",
            "{}.n % 2 = 1",
            "{}.k <> 'a'",
        ];
        let one = self.one_of(&PLAIN).replace("{}", of);
        match self.below(5) {
            0 => format!("not ({one})"),
            1 => format!("({one} or {})", self.one_of(&PLAIN).replace("{}", of)),
            2 => format!("({one} and {})", self.one_of(&PLAIN).replace("{}", of)),
            _ => one,
        }
    }

    /// A condition of two tables.
    fn pair(&mut self, a: &str, b: &str) -> String {
        let form = self.one_of(&[
            "{a}.k = {b}.k",
            "{a}.n = {b}.n",
            "{a}.n = {b}.n + 1",
            "{a}.k = {b}.k and {a}.x < {b}.x",
            "{a}.n < {b}.n",
            "{a}.k = {b}.k and {a}.n = {b}.n",
            "{a}.x > {b}.x and {b}.n > 2",
            "{a}.k = {b}.k and ({a}.n > 2 or {b}.n > 2)",
        ]);
        form.replace("{a}", a).replace("{b}", b)
    }

    fn query(&mut self, depth: u32) -> String {
        let table = self.one_of(&["t", "u", "t", "v", "w"]);
        if depth == 0 {
            return format!("select k, n, x from {table}");
        }
        let (a, b) = (self.alias(), self.alias());
        match self.below(11) {
            0 | 1 => {
                let inner = self.query(depth - 1);
                self.narrow(&inner)
            }
            2 => format!("select distinct k, n, x from ({}) {a}", self.query(depth - 1)),
            3 | 4 => {
                let (inner, key) = (self.query(depth - 1), self.text(&a));
                let n = self.one_of(&[
                    "count(*)",
                    "count({}.n)",
                    "count(distinct {}.n)",
                    "sum({}.n)",
                    "max({}.n)",
                    "count_if({}.x > 2)",
                ]);
                let x =
                    self.one_of(&["sum({}.x)", "min({}.x)", "max({}.x)", "sum({}.x) filter (where {}.n > 2)", "median({}.x)"]);
                let (n, x) = (n.replace("{}", &a), x.replace("{}", &a));
                let having = if self.below(3) == 0 { format!(" having count(*) > {}", self.below(3)) } else { String::new() };
                format!("select {key} as k, {n} as n, {x} as x from ({inner}) {a} group by {key}{having}")
            }
            5 | 6 => {
                let (left, right, on) = (self.query(depth - 1), self.query(depth - 1), self.pair(&a, &b));
                let how = self.one_of(&["join", "left join", "right join", "full join"]);
                let (k, n, x) = (self.text(&a), self.number(&b), self.double(&a));
                format!("select {k} as k, {n} as n, {x} as x from ({left}) {a} {how} ({right}) {b} on {on}")
            }
            7 => {
                let (left, right, on) = (self.query(depth - 1), self.query(depth - 1), self.pair(&a, &b));
                let exists = self.one_of(&["exists", "not exists"]);
                format!("select k, n, x from ({left}) {a} where {exists} (select 1 from ({right}) {b} where {on})")
            }
            8 => {
                let (left, right) = (self.query(depth - 1), self.query(depth - 1));
                let (column, within) = (self.one_of(&["k", "n"]), self.one_of(&["in", "not in"]));
                format!("select k, n, x from ({left}) {a} where {a}.{column} {within} (select {column} from ({right}) {b})")
            }
            9 => {
                let set = self.one_of(&["union all", "union", "except", "intersect"]);
                format!("{} {set} select k, n, x from ({}) {a}", self.plain(depth - 1), self.query(depth - 1))
            }
            _ => {
                let (inner, over) = (self.query(depth - 1), self.one_of(&["sum(n)", "count(*)", "max(n)"]));
                match self.below(2) {
                    0 => format!("select k, {over} over (partition by k) as n, x from ({inner}) {a}"),
                    _ => format!(
                        "select k, n, x from ({inner}) {a} where x > (select min(x) from ({}) {b})",
                        self.query(depth - 1)
                    ),
                }
            }
        }
    }

    /// Expressions over rows that fulfil a condition.
    fn narrow(&mut self, inner: &str) -> String {
        let of = self.alias();
        let (k, n, x) = (self.text(&of), self.number(&of), self.double(&of));
        format!("select {k} as k, {n} as n, {x} as x from ({inner}) {of} where {}", self.condition(&of))
    }

    /// A query that can stand before UNION.
    fn plain(&mut self, depth: u32) -> String {
        let alias = self.alias();
        format!("select k, n, x from ({}) {alias}", self.query(depth))
    }
}

/// How many batches there are.
const BATCHES: usize = 4;

/// Rows that come, and some of them leave in later batches.
fn events() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let text = proptest::option::weighted(0.8, prop_oneof!["a", "b", "ab", ""]);
    // Eighths add up exactly, in any order.
    let double = proptest::option::weighted(0.8, (0..40_u32).prop_map(|eighths| F64::from(f64::from(eighths) / 8.0)));
    let row = (text, proptest::option::weighted(0.8, 0..5_i64), double, (0..40_i64).prop_map(|second| second * SECOND));
    let coming = (any::<bool>(), row, proptest::option::weighted(0.4, 0..4_usize), 0..3_usize);
    proptest::collection::vec(coming, 0..14).prop_map(|rows| {
        let mut batches = vec![Vec::new(); BATCHES];
        for (table, row, stays, at) in rows {
            batches[at].push((table, row.clone(), 1));
            if let Some(stays) = stays
                && at + stays < BATCHES
            {
                batches[at + stays].push((table, row, -1));
            }
        }
        batches
    })
}

/// The rows of a table after these batches.
fn rows_of(batches: &[Vec<Event>], table: bool, kind: Kind) -> Vec<Timed> {
    let mut rows: Vec<Timed> = Vec::new();
    for (_, row, n) in batches.iter().flatten().filter(|(of, ..)| *of == table) {
        if *n > 0 {
            rows.push(row.clone());
        } else if kind == Kind::Views {
            let place = rows.iter().position(|other| other == row).expect("a row leaves after it came");
            rows.swap_remove(place);
        }
    }
    rows
}

/// The tables over a stream of events.
fn tables<'s>(s: &DStream<'s, Event>, kind: Kind, windows: &[Windows; 2]) -> StreamTables<'s> {
    let tables = StreamTables::new(&TableSession::new());
    for (name, table) in [("t", false), ("u", true)] {
        let (raw, rows) = (format!("raw_{name}"), s.filter(move |(of, ..)| *of == table));
        match kind {
            Kind::Views => tables.register_view(&raw, &present(&rows.map(|(_, row, n)| (row, n)))).unwrap(),
            _ => tables.register_stream(&raw, &rows.filter(|(.., n)| *n > 0).map(|(_, row, _)| row)).unwrap(),
        }
        let at = match kind {
            Kind::Watermarked(delay) => {
                tables.with_watermark(&raw, "_4", Watermark::delay(secs(delay))).unwrap();
                "_4"
            }
            _ => "timestamp_micros(_4)",
        };
        tables.create_view(name, &format!("select _1 as k, _2 as n, _3 as x, {at} as at from {raw}")).unwrap();
    }
    for (name, windows) in WINDOWS.iter().zip(windows) {
        tables.create_view(name, &windows.query).unwrap();
    }
    tables
}

/// What DataFusion answers, over the rows after these batches.
fn answer(query: &str, batches: &[Vec<Event>], kind: Kind, windows: &[Windows; 2]) -> Vec<Row> {
    let session = TableSession::new();
    for (name, table) in [("t", false), ("u", true)] {
        let rows = session.create_data_frame(&rows_of(batches, table, kind)).unwrap();
        let timed = rows.to_df(["k", "n", "x", "at"]).unwrap().with_column("at", "timestamp_micros(at)").unwrap();
        timed.create_or_replace_temp_view(name).unwrap();
    }
    for (name, windows) in WINDOWS.iter().zip(windows) {
        session.sql(&windows.same).unwrap().create_or_replace_temp_view(name).unwrap();
    }
    let mut rows: Vec<Row> = session.sql(query).unwrap().collect().unwrap();
    rows.sort();
    rows
}

/// Checks the rows of each batch on 1, 2 and 4 workers, and after a restart on another number of them.
fn agrees(
    query: &str,
    batches: &[Vec<Event>],
    restart: Restart,
    expected: &[Vec<Row>],
    job: impl for<'s> Fn(&DStream<'s, Event>) -> DStream<'s, Row> + Clone + Send + Sync + 'static,
) -> Result<(), TestCaseError> {
    let rows = |seen: Vec<(u64, Vec<Row>)>| {
        let sorted = |(_, mut rows): (u64, Vec<Row>)| {
            rows.sort();
            rows
        };
        seen.into_iter().map(sorted).collect::<Vec<_>>()
    };
    for workers in [1, 2, 4] {
        let seen = run(workers, batches.to_vec(), job.clone());
        prop_assert_eq!(rows(seen), expected, "{}, at {} workers", query, workers);
    }
    let seen = match restart {
        Restart::Ends => run_handed_over((1, 2), batches[..2].to_vec(), batches[2..].to_vec(), job),
        Restart::Fails(at) => run_restarted((2, 4), at, batches.to_vec(), job),
    };
    prop_assert_eq!(rows(seen), expected, "{}, after {:?}", query, restart);
    Ok(())
}

/// The result of a query, after each batch: in complete mode a watermark forgets nothing.
fn checked(
    query: &str,
    windows: &[Windows; 2],
    batches: &[Vec<Event>],
    kind: Kind,
    restart: Restart,
) -> Result<(), TestCaseError> {
    let expected: Vec<Vec<Row>> = (1..=batches.len()).map(|n| answer(query, &batches[..n], kind, windows)).collect();
    let (text, tables_of) = (query.to_owned(), windows.clone());
    agrees(query, batches, restart, &expected, move |s| {
        let result = tables(s, kind, &tables_of).sql(&text).unwrap();
        let view = result.view::<Row>().unwrap_or_else(|_| result.stream().unwrap().accumulate());
        view.sort_by(Clone::clone).complete()
    })
}

/// Rows of much later than all others. A WHERE leaves out rows before the watermark sees them, and each condition lets some of these through. The
/// partitions of the stream are quarters of the batch, and each has all of them.
fn later() -> Vec<Event> {
    let texts = [None, Some("a"), Some("b"), Some("")].map(|text| text.map(str::to_owned));
    let doubles = [None, Some(1.0), Some(4.0)].map(|double| double.map(F64::from));
    let mut quarter = Vec::new();
    for text in &texts {
        for (number, double) in [None, Some(1), Some(2), Some(3)].into_iter().flat_map(|n| doubles.map(|double| (n, double))) {
            quarter.extend([false, true].map(|table| (table, (text.clone(), number, double, 1_000 * SECOND), 1)));
        }
    }
    [&quarter[..]; 4].concat()
}

/// Windows that the watermark closes: all of them in the last batch, which has later rows in each partition.
fn closed(query: &str, windows: &[Windows; 2], batches: &[Vec<Event>], restart: Restart) -> Result<(), TestCaseError> {
    let kind = Kind::Watermarked(60);
    let mut expected = vec![Vec::new(); batches.len()];
    expected.push(answer(query, batches, kind, windows));
    let mut batches = batches.to_vec();
    batches.push(later());
    let (text, tables_of) = (query.to_owned(), windows.clone());
    agrees(query, &batches, restart, &expected, move |s| tables(s, kind, &tables_of).sql(&text).unwrap().stream::<Row>().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(16),
        max_shrink_iters: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_generated_query_has_the_result_of_all_rows(
        seed in any::<u64>(), depth in 1..4_u32, batches in events(), kind in kind(), restart in restart(),
    ) {
        let mut queries = Queries::new(seed);
        let (windows, query) = ([queries.windows(), queries.windows()], queries.query(depth));
        checked(&query, &windows, &batches, kind, restart)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(8),
        max_shrink_iters: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn generated_windows_close_once_with_the_result_of_all_rows(seed in any::<u64>(), batches in events(), restart in restart()) {
        let mut queries = Queries::new(seed);
        let (windows, query) = ([queries.windows(), queries.windows()], queries.narrow("select k, n, x from v"));
        closed(&query, &windows, &batches, restart)?;
    }
}
