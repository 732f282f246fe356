//! SQL from Kafka to Kafka. `TIDEMILL_KAFKA` is the address of a broker, which scripts/kafka starts; the command `tidemill` is beside `tidemill-sql`:
//! `cargo build --features dataflows`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

fn broker() -> String {
    std::env::var("TIDEMILL_KAFKA").expect("TIDEMILL_KAFKA is the address of a real Kafka: scripts/kafka starts one")
}

/// What the command prints.
fn tidemill(args: &[&str]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_tidemill-sql")).with_file_name("tidemill");
    assert!(program.exists(), "{} is missing; cargo build --features dataflows builds it", program.display());
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{args:?}: {err}\n{out}");
    out
}

#[test]
fn words_are_counted_from_topic_to_topic_once_over_two_runs() {
    let (broker, dir) = (broker(), std::env::temp_dir().join(format!("tidemill-sql-kafka-{}", std::process::id())));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let (words, counts) = (format!("sql-words-{}", std::process::id()), format!("sql-counts-{}", std::process::id()));
    for topic in [&words, &counts] {
        tidemill(&["topic", "create", topic, "--partitions", "2", "--brokers", &broker]);
    }
    let sql = format!(
        "CREATE TABLE lines USING kafka OPTIONS (kafka.bootstrap.servers '{broker}', subscribe '{words}', startingOffsets 'earliest');
         CREATE TABLE counts (key STRING, value STRING) USING kafka
         OPTIONS (kafka.bootstrap.servers '{broker}', topic '{counts}', sink.delivery-guarantee 'exactly-once');
         CREATE VIEW words AS SELECT explode(split(cast(value AS STRING), ' ')) AS word FROM lines;
         INSERT INTO counts SELECT word, count(*) FROM words GROUP BY word;"
    );
    let (file, checkpoint, lines) = (dir.join("count.sql"), dir.join("checkpoint"), dir.join("lines"));
    std::fs::write(&file, sql).unwrap();
    let path = |path: &Path| path.display().to_string();
    let mut written: Vec<&str> = Vec::new();
    for more in [["to be or not to be", "to do"], ["be quick", "to"]] {
        std::fs::write(&lines, more.join("\n") + "\n").unwrap();
        tidemill(&["gen", "words", "--file", &path(&lines), "--brokers", &broker, "--topic", &words]);
        tidemill(&["sql", &path(&file), "--once", "--interval", "200ms", "--checkpoint", &path(&checkpoint), "--quiet"]);
        written.extend(more);
        let mut expected: BTreeMap<&str, i64> = BTreeMap::new();
        written.iter().flat_map(|line| line.split(' ')).for_each(|word| *expected.entry(word).or_default() += 1);
        // The counts of a word are in one partition, in their order. Each is there once.
        let out = tidemill(&["topic", "read", &counts, "--keys", "--brokers", &broker]);
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for (word, n) in out.lines().filter_map(|line| line.split_once('\t')) {
            let before = last.insert(word, n.parse().unwrap());
            assert!(before.is_none_or(|before| before < last[word]), "{word} has a count twice: {out}");
        }
        assert_eq!(last, expected, "{out}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn rows_go_to_the_topics_of_their_column_with_headers() {
    let (broker, dir) = (broker(), std::env::temp_dir().join(format!("tidemill-sql-topics-{}", std::process::id())));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let topic = |name: &str| format!("sql-topics-{}-{name}", std::process::id());
    for name in ["in", "a", "b"] {
        tidemill(&["topic", "create", &topic(name), "--partitions", "1", "--brokers", &broker]);
    }
    let path = |name: &str| dir.join(name).display().to_string();
    let table = |name: &str, options: &str| {
        format!("CREATE TABLE {name} USING kafka OPTIONS (kafka.bootstrap.servers '{broker}'{options});\n")
    };
    let copy = format!(
        "{}{}CREATE VIEW words AS SELECT cast(value AS STRING) AS word FROM words_in;
         INSERT INTO words_out SELECT word AS value, concat('{}', substr(word, 1, 1)) AS topic,
             array(named_struct('key', 'unit', 'value', 'words')) AS headers FROM words;",
        table("words_in", &format!(", subscribe '{}', startingOffsets 'earliest'", topic("in"))),
        table("words_out", ", sink.delivery-guarantee 'exactly-once'"),
        topic(""),
    );
    std::fs::write(path("lines"), "apple\nbanana\navocado\n").unwrap();
    std::fs::write(path("copy.sql"), copy).unwrap();
    tidemill(&["gen", "words", "--file", &path("lines"), "--brokers", &broker, "--topic", &topic("in")]);
    let job = ["--once", "--interval", "200ms", "--quiet"];
    tidemill(&[&["sql", &path("copy.sql"), "--checkpoint", &path("checkpoint")][..], &job].concat());
    let read = |name: &str| tidemill(&["topic", "read", &topic(name), "--brokers", &broker]);
    assert_eq!((read("a").as_str(), read("b").as_str()), ("apple\navocado\n", "banana\n"));

    let headers = format!(
        "{}CREATE VIEW pairs AS SELECT explode(headers) AS pair FROM words_back;
         SELECT pair['key'] AS name, cast(pair['value'] AS STRING) AS text FROM pairs;",
        table("words_back", &format!(", subscribe '{}', startingOffsets 'earliest', includeHeaders 'true'", topic("b"))),
    );
    std::fs::write(path("headers.sql"), headers).unwrap();
    let shown = tidemill(&[&["sql", &path("headers.sql")][..], &job].concat());
    assert!(shown.contains("|unit|words|"), "{shown}");
    std::fs::remove_dir_all(dir).unwrap();
}

/// What a log of changes adds up to is the result, over two runs and exactly once.
#[test]
fn changes_of_a_result_add_up_to_it() {
    let (broker, dir) = (broker(), std::env::temp_dir().join(format!("tidemill-sql-changes-{}", std::process::id())));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let (words, changes) = (format!("sql-changes-in-{}", std::process::id()), format!("sql-changes-out-{}", std::process::id()));
    for topic in [&words, &changes] {
        tidemill(&["topic", "create", topic, "--partitions", "2", "--brokers", &broker]);
    }
    let kafka = format!("USING kafka OPTIONS (kafka.bootstrap.servers '{broker}', startingOffsets 'earliest'");
    let count = format!(
        "CREATE TABLE lines {kafka}, subscribe '{words}');
         CREATE TABLE changes (key STRING, value STRING) USING kafka OPTIONS (kafka.bootstrap.servers '{broker}', topic '{changes}',
             outputMode 'changes', sink.delivery-guarantee 'exactly-once');
         CREATE VIEW words AS SELECT explode(split(cast(value AS STRING), ' ')) AS word FROM lines;
         INSERT INTO changes SELECT word, count(*) FROM words GROUP BY word;"
    );
    // The header `diff` says how many copies of a row entered, or left.
    let read = format!(
        "CREATE TABLE log {kafka}, subscribe '{changes}', includeHeaders 'true');
         CREATE VIEW pairs AS SELECT cast(key AS STRING) AS word, cast(value AS STRING) AS n, explode(headers) AS pair FROM log;
         CREATE VIEW diffs AS SELECT word, n, cast(cast(pair['value'] AS STRING) AS BIGINT) AS diff FROM pairs WHERE pair['key'] = 'diff';
         SELECT word, n, sum(diff) AS copies, count(*) AS records FROM diffs GROUP BY word, n;"
    );
    let path = |name: &str| dir.join(name).display().to_string();
    std::fs::write(path("count.sql"), count).unwrap();
    std::fs::write(path("read.sql"), read).unwrap();
    let job = ["--once", "--interval", "200ms", "--quiet"];
    let mut seen = BTreeMap::new();
    for line in ["to be or not to be", "to do"] {
        std::fs::write(path("lines"), format!("{line}\n")).unwrap();
        tidemill(&["gen", "words", "--file", &path("lines"), "--brokers", &broker, "--topic", &words]);
        tidemill(&[&["sql", &path("count.sql"), "--checkpoint", &path("checkpoint")][..], &job].concat());
        let shown = tidemill(&[&["sql", &path("read.sql")][..], &job].concat());
        // The last table of the console: word, n, copies, records.
        let last = shown.rsplit("Batch: ").next().unwrap();
        let rows = last.lines().filter(|l| l.starts_with('|')).skip(1);
        let cells = rows.map(|l| l.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect::<Vec<_>>());
        seen = cells.map(|c| ((c[0].clone(), c[1].clone()), (c[2].clone(), c[3].clone()))).collect();
    }
    let row = |word: &str, n: &str, copies: &str, records: &str| {
        ((word.to_owned(), n.to_owned()), (copies.to_owned(), records.to_owned()))
    };
    // The count 2 of `to` entered in the first run and left in the second one.
    let all = [row("to", "2", "0", "2"), row("to", "3", "1", "1"), row("do", "1", "1", "1")];
    let others = [row("be", "2", "1", "1"), row("or", "1", "1", "1"), row("not", "1", "1", "1")];
    assert_eq!(seen, all.into_iter().chain(others).collect());
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn structured_kafka_wordcount_prints_the_counts() {
    use std::io::{BufRead, BufReader};
    let (broker, topic) = (broker(), format!("sql-structured-{}", std::process::id()));
    tidemill(&["topic", "create", &topic, "--partitions", "2", "--brokers", &broker]);
    let lines = std::env::temp_dir().join(format!("tidemill-sql-structured-{}", std::process::id()));
    std::fs::write(&lines, "to be or not to be\n").unwrap();
    tidemill(&["gen", "words", "--file", &lines.display().to_string(), "--brokers", &broker, "--topic", &topic]);
    let mut program = Command::new(env!("CARGO_BIN_EXE_structured_kafka_wordcount"))
        .args([&broker, "subscribe", &topic, "--starting-offsets", "earliest", "--interval", "200ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    let table: Vec<String> = out.skip_while(|l| l != "|  be|    2|").take_while(|l| !l.starts_with("+-")).collect();
    assert_eq!(table, ["|  be|    2|", "|  to|    2|", "| not|    1|", "|  or|    1|"]);
    program.kill().unwrap();
    program.wait().unwrap();
    std::fs::remove_file(lines).unwrap();
}
