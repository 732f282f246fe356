//! Generated queries over generated rows: after each batch the result is what DataFusion says over all rows that are there. Rows of a stream
//! only come; those of a view leave, too. PROPTEST_CASES sets another number of queries.

use proptest::prelude::*;
use tidemill::cli::generate::Random;
use tidemill::prelude::*;
use tidemill::testing::{run, run_handed_over};
use tidemill_sql::{StreamTables, TableSession};

#[allow(dead_code, reason = "other test programs use the rest")]
mod shared;

use shared::{cases, present};

/// A text, a number and a double of a table, of which each may be null.
type Row = (Option<String>, Option<i64>, Option<F64>);

/// A row of `t` (false) or `u` (true) comes (1) or leaves (-1).
type Event = (bool, Row, i64);

/// Makes queries that select a text `k`, a whole number `n` and a double `x`.
struct Queries {
    random: Random,
    aliases: u32,
}

impl Queries {
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
        let table = self.one_of(&["t", "u", "t"]);
        if depth == 0 {
            return format!("select k, n, x from {table}");
        }
        let (a, b) = (self.alias(), self.alias());
        match self.below(11) {
            0 | 1 => {
                let (inner, k, n, x) = (self.query(depth - 1), self.text(&a), self.number(&a), self.double(&a));
                format!("select {k} as k, {n} as n, {x} as x from ({inner}) {a} where {}", self.condition(&a))
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

    /// A query that can stand before UNION.
    fn plain(&mut self, depth: u32) -> String {
        let alias = self.alias();
        format!("select k, n, x from ({}) {alias}", self.query(depth))
    }
}

/// Rows that come, and some of them leave in later batches.
fn events() -> impl Strategy<Value = Vec<Vec<Event>>> {
    let text = proptest::option::weighted(0.8, prop_oneof!["a", "b", "ab", ""]);
    // Eighths add up exactly, in any order.
    let double = proptest::option::weighted(0.8, (0..40_u32).prop_map(|eighths| F64::from(f64::from(eighths) / 8.0)));
    let row = (text, proptest::option::weighted(0.8, 0..5_i64), double);
    let coming = (any::<bool>(), row, proptest::option::weighted(0.4, 0..4_usize), 0..3_usize);
    proptest::collection::vec(coming, 0..14).prop_map(|rows| {
        let mut batches = vec![Vec::new(); 4];
        for (table, row, stays, at) in rows {
            batches[at].push((table, row.clone(), 1));
            if let Some(stays) = stays
                && at + stays < 4
            {
                batches[at + stays].push((table, row, -1));
            }
        }
        batches
    })
}

/// The rows of both tables after these batches.
fn rows_of(batches: &[Vec<Event>], table: bool, leave: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (_, row, n) in batches.iter().flatten().filter(|(of, ..)| *of == table) {
        if *n > 0 {
            rows.push(row.clone());
        } else if leave {
            let place = rows.iter().position(|other| other == row).expect("a row leaves after it came");
            rows.swap_remove(place);
        }
    }
    rows
}

/// The tables over a stream of events.
fn tables<'s>(s: &DStream<'s, Event>, leave: bool) -> StreamTables<'s> {
    let tables = StreamTables::new(&TableSession::new());
    for (name, table) in [("t", false), ("u", true)] {
        let rows = s.filter(move |(of, ..)| *of == table);
        if leave {
            tables.register_view(&format!("raw_{name}"), &present(&rows.map(|(_, row, n)| (row, n)))).unwrap();
        } else {
            tables.register_stream(&format!("raw_{name}"), &rows.filter(|(.., n)| *n > 0).map(|(_, row, _)| row)).unwrap();
        }
        tables.create_view(name, &format!("select _1 as k, _2 as n, _3 as x from raw_{name}")).unwrap();
    }
    tables
}

fn session(batches: &[Vec<Event>], leave: bool) -> TableSession {
    let session = TableSession::new();
    for (name, table) in [("t", false), ("u", true)] {
        let rows = session.create_data_frame(&rows_of(batches, table, leave)).unwrap();
        rows.to_df(["k", "n", "x"]).unwrap().create_or_replace_temp_view(name).unwrap();
    }
    session
}

/// The result of a query, after each batch.
fn kept_up_to_date(query: String, leave: bool) -> impl for<'s> Fn(&DStream<'s, Event>) -> DStream<'s, Row> + Clone {
    move |s| {
        let result = tables(s, leave).sql(&query).unwrap();
        let view = result.view::<Row>().unwrap_or_else(|_| result.stream().unwrap().accumulate());
        view.sort_by(Clone::clone).complete()
    }
}

fn checked(query: &str, batches: &[Vec<Event>], leave: bool) -> Result<(), TestCaseError> {
    let answer = |n: usize| {
        let mut rows: Vec<Row> = session(&batches[..n], leave).sql(query).unwrap().collect().unwrap();
        rows.sort();
        rows
    };
    let expected: Vec<Vec<Row>> = (1..=batches.len()).map(answer).collect();
    let job = kept_up_to_date(query.to_owned(), leave);
    let rows = |seen: Vec<(u64, Vec<Row>)>| seen.into_iter().map(|(_, rows)| rows).collect::<Vec<_>>();
    for workers in [1, 2] {
        prop_assert_eq!(rows(run(workers, batches.to_vec(), job.clone())), expected.clone(), "{}, at {} workers", query, workers);
    }
    let seen = run_handed_over((1, 2), batches[..2].to_vec(), batches[2..].to_vec(), job);
    prop_assert_eq!(rows(seen), expected, "{}, after a restart", query);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(16),
        max_shrink_iters: 30,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_generated_query_has_the_result_of_all_rows(seed in any::<u64>(), depth in 1..4_u32, batches in events(), leave in any::<bool>()) {
        let query = Queries { random: Random::new(seed), aliases: 0 }.query(depth);
        checked(&query, &batches, leave)?;
    }
}
