//! `tidemill-sql` as a process: the files of examples/sql, and statements that are typed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tidemill::cli::generate::{BEGIN_MS, Generate, Nexmark};
use tidemill::connector::files::sink_log::FileStreamSinkLog;

#[allow(dead_code, reason = "tests of the queries use the rest")]
#[path = "../nexmark/tables.rs"]
mod tables;
#[path = "../../src/testing/temp_dir.rs"]
mod temp_dir;

use temp_dir::TempDir;

/// A directory of a test, which goes with it.
struct Dir(TempDir);

impl Dir {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = TempDir::new(&format!("command-{name}"));
        for (name, text) in files {
            let file = path.join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        Dir(path)
    }
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/sql").join(name)
}

fn command(dir: &Dir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill-sql"));
    command.current_dir(&*dir.0).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a file of SQL prints, without the times of its batches.
fn printed(dir: &Dir, file: &Path, workers: &str) -> String {
    let file = file.display().to_string();
    let output = command(dir, &[&file, "--once", "--interval", "100ms", "--quiet", "--workers", workers]).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{err}");
    out.lines().filter(|line| !line.starts_with("Batch: ")).map(|line| format!("{line}\n")).collect()
}

/// The lines of a table that a file has written, sorted: those of the files that its log names.
fn lines_of(table: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    for file in FileStreamSinkLog::files(table).unwrap().expect("the table has a log") {
        lines.extend(std::fs::read_to_string(file).unwrap().lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

#[test]
fn the_words_of_files_are_counted() {
    let dir = Dir::new("words", &[("in/a.txt", "to be or\nnot to be\n"), ("in/b.txt", "to do\n")]);
    let expected = "\
-------------------------------------------
-------------------------------------------
+----+-----+
|word|count|
+----+-----+
|  to|    3|
|  be|    2|
|  do|    1|
| not|    1|
|  or|    1|
+----+-----+

";
    for workers in ["1", "2", "4"] {
        assert_eq!(printed(&dir, &example("wordcount.sql"), workers), expected);
    }
}

#[test]
fn the_events_of_an_auction_house_are_read() {
    let (mut nexmark, mut events, mut lines) = (Nexmark::new(7), Vec::new(), Vec::new());
    for n in 0..3_000 {
        // The same events once more, as lines.
        events.push(nexmark.event(BEGIN_MS + n));
    }
    let mut nexmark = Nexmark::new(7);
    for n in 0..3_000 {
        nexmark.write(BEGIN_MS + n, &mut lines);
        lines.push(b'\n');
    }
    let (first, second) = lines.split_at(lines.iter().skip(400_000).position(|b| *b == b'\n').unwrap() + 400_001);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let dir = Dir::new("nexmark", &[("events/a.json", &text(first)), ("events/b.json", &text(second))]);
    let session = tables::rows(&events, |bid| bid.date_time).unwrap();
    let (_, query) = tables::QUERIES.iter().find(|(name, _)| *name == "q4").unwrap();
    let expected = session.sql(&format!("{query} ORDER BY category")).unwrap().show_string(20, 20).unwrap();
    let out = printed(&dir, &example("nexmark.sql"), "2");
    assert!(expected.lines().count() == 9 && out.ends_with(&format!("{expected}\n")), "{expected}\n{out}");
}

const HEADER: &str = "Trip ID,Duration,Start Date,Start Station,Start Terminal,End Date,End Station,End Terminal,Bike #,Subscriber Type,Zip Code\n";

#[test]
fn trips_go_to_files_and_stations_to_the_console() {
    let a = format!(
        "{HEADER}1,1800,1/1/2014 0:14,Ferry,58,1/1/2014 0:44,Market,65,473,Subscriber,94612\n2,60,1/1/2014 9:00,Market,1,1/1/2014 9:01,Ferry,2,3,Customer,\n"
    );
    let b = format!(
        "{HEADER}3,4500,1/2/2014 0:00,Ryland,7,1/2/2014 1:15,Ryland,7,9,Customer,nil\n4,120,1/2/2014 7:00,Ferry,58,1/2/2014 7:02,Market,65,1,Subscriber,9\n"
    );
    let stations = "Ferry,San Francisco\nMarket,San Francisco\nRyland,San Jose\n";
    let dir = Dir::new("trips", &[("trips/a.csv", &a), ("trips/b.csv", &b), ("stations.csv", stations)]);
    let out = printed(&dir, &example("bike_trips.sql"), "2");
    let last = "\
+-------------+-------+-----+----+
|         town|station|trips|mean|
+-------------+-------+-----+----+
|San Francisco|  Ferry|    2|16.0|
|San Francisco| Market|    1| 1.0|
|     San Jose| Ryland|    1|75.0|
+-------------+-------+-----+----+

";
    assert!(out.ends_with(last), "{out}");
    // A batch for each file.
    assert_eq!(out.matches("|         town|").count(), 2, "{out}");
    let lines = lines_of(&dir.0.join("long"));
    let expected = [
        r#"{"station":"Ferry","minutes":30.0,"started":"2014-01-01T00:14:00.000Z"}"#,
        r#"{"station":"Ryland","minutes":75.0,"started":"2014-01-02T00:00:00.000Z"}"#,
    ];
    assert_eq!(lines, expected);
}

#[test]
fn windows_close_by_the_watermark_of_a_table_or_view() {
    let json = |rows: &[(&str, &str)]| -> String {
        rows.iter().map(|(station, at)| format!("{{\"station\": \"{station}\", \"at\": \"2026-11-30 10:00:{at}\"}}\n")).collect()
    };
    let trips = json(&[("Ferry", "01"), ("Ferry", "09"), ("Market", "12")]);
    // The time of the last row closes the windows before it.
    let later = json(&[("Ferry", "59")]);
    let windows = "CREATE TABLE out USING json OPTIONS (path 'out');
                   INSERT INTO out SELECT station, count(*) AS n FROM trips GROUP BY window(at, '10 seconds'), station;";
    let table = "CREATE TABLE trips (station STRING, at TIMESTAMP, WATERMARK FOR at AS at - INTERVAL '5' SECOND)
                 USING json OPTIONS (path 'trips', maxFilesPerTrigger '1', idleAfter '1 minute');";
    let view = "CREATE TABLE lines (value STRING) USING text OPTIONS (path 'trips', maxFilesPerTrigger '1');
                CREATE VIEW trips (WATERMARK FOR at AS at - INTERVAL '5 seconds') AS
                SELECT trip.station AS station, trip.at AS at
                FROM (SELECT from_json(value, 'station STRING, at TIMESTAMP') AS trip FROM lines) t;";
    for source in [table, view] {
        let sql = format!("{source} {windows}");
        let dir = Dir::new("watermark", &[("trips/a.json", &trips), ("trips/b.json", &later), ("windows.sql", &sql)]);
        printed(&dir, &dir.0.join("windows.sql"), "2");
        let rows = lines_of(&dir.0.join("out"));
        assert_eq!(rows, [r#"{"station":"Ferry","n":2}"#, r#"{"station":"Market","n":1}"#], "{source}");
    }
}

#[test]
fn a_file_that_is_read_again_is_joined() {
    let sql = "CREATE TABLE lines (value STRING) USING text OPTIONS (path 'in');
               CREATE TABLE docks (name STRING, docks INT) USING csv OPTIONS (path 'docks.csv', stream 'false', reload 'true');
               SELECT value, docks FROM lines JOIN docks ON value = name;";
    let dir = Dir::new("reload", &[("in/a.txt", "Ferry\nHill\n"), ("docks.csv", "Ferry,27\n"), ("docks.sql", sql)]);
    let out = printed(&dir, &dir.0.join("docks.sql"), "2");
    assert!(out.contains("|Ferry|   27|"), "{out}");
    // As a view results change with it, so that a query over it alone has a meaning, too.
    let sql = "CREATE TABLE lines (value STRING) USING text OPTIONS (path 'in');
               CREATE TABLE docks (name STRING, docks INT) USING csv OPTIONS (path 'docks.csv', stream 'false', reload 'view');
               SELECT value, docks FROM lines RIGHT JOIN docks ON value = name;";
    let dir =
        Dir::new("reload-view", &[("in/a.txt", "Ferry\nHill\n"), ("docks.csv", "Ferry,27\nMarket,5\n"), ("docks.sql", sql)]);
    let out = printed(&dir, &dir.0.join("docks.sql"), "2");
    assert!(out.contains("|Ferry|   27|") && out.contains("| NULL|    5|"), "{out}");
}

#[test]
fn statements_are_typed_and_a_wrong_one_does_not_end_the_session() {
    let dir = Dir::new("typed", &[("in/a.json", "{\"n\": 1}\n{\"n\": 2}\n")]);
    let mut program = command(&dir, &["--once", "--interval", "100ms", "--quiet"]).spawn().unwrap();
    let typed = "select 1 +\n 1 as two;\nselect nothing;\n\
                 create table numbers (n INT) using json options (path 'in');\n\
                 explain select sum(n) from numbers;\n\
                 select sum(n) as total from numbers;\nexit\n";
    program.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{err}");
    assert!(out.contains("|  2|") && out.contains("|    3|"), "{out}\n{err}");
    assert!(out.contains("aggregate sum(numbers.n): keeps a result for each group"), "the plan: {out}");
    assert!(err.contains("nothing"), "the error: {err}");
}

#[test]
fn what_is_wrong_in_a_file_names_the_file_or_the_table() {
    for (text, says) in [
        (
            "create table t (a INT) using csv options (pth 'in'); select * from t;",
            "CREATE TABLE t: read_stream, format csv: format csv has no option pth",
        ),
        ("create table t (a INT)", "wrong.sql: CREATE TABLE t: it has no format"),
        ("insert into nowhere select 1", "the table is unknown; CREATE TABLE nowhere"),
        (
            "create table t (a INT) using csv options (path 'in', reload 'maybe')",
            "CREATE TABLE t: option reload is `maybe`; say true, view or false",
        ),
        ("select * from nowhere", "the table nowhere is unknown"),
        (
            "create table t (a INT) using json options (path 'in'); create table o (a INT, b INT) using noop; insert into o select a from t",
            "the query has 1 columns, and the table 2",
        ),
    ] {
        let dir = Dir::new("wrong", &[("wrong.sql", text), ("in/a.json", "{}")]);
        let output = command(&dir, &["wrong.sql", "--once", "--quiet"]).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && err.contains(says), "{text}: {err}");
    }
}
