//! The pages for users. The README links each page, its programs are doc tests, and rustc prints the errors that a page shows.

use std::path::Path;
use std::process::Command;

use crate::{compiler, rust_files, temp_dir};

/// The pages of the guide, as paths from the project's root.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in ["docs/guide", "docs/guide/tutorials"] {
        let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        pages.extend(entries.filter(|name| name != "tutorials").map(|name| format!("{folder}/{name}")));
    }
    pages.sort();
    assert!(pages.len() >= 5, "{pages:?}");
    pages
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn the_readme_names_every_feature() {
    let (manifest, readme) = (read("Cargo.toml"), read("README.md"));
    let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    let names = features.lines().filter(|line| !line.starts_with(['#', ' '])).filter_map(|line| line.split_once(" = ["));
    let names: Vec<&str> = names.map(|(name, _)| name).filter(|name| *name != "default").collect();
    let named: Vec<&str> = rows(&readme).flat_map(|row| quoted(row[0]).collect::<Vec<_>>()).collect();
    let unknown: Vec<&&str> = names.iter().filter(|name| !named.contains(name)).collect();
    assert!(names.len() > 10 && unknown.is_empty(), "README.md has no row for the features {unknown:?}");
}

/// The fenced blocks of a page: the word after the fence, and the lines.
fn blocks(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
            found.push((kind.to_owned(), block.join("\n")));
        }
    }
    found
}

#[test]
fn every_page_is_linked_and_its_programs_are_doc_tests() {
    let (library, sql, readme) = (read("src/lib.rs"), read("sql/src/lib.rs"), read("README.md"));
    for page in pages() {
        let included = |code: &str, root: &str| code.contains(&format!("#[doc = include_str!(\"{root}{page}\")]"));
        assert!(included(&library, "../") || included(&sql, "../../"), "no lib.rs includes {page}");
        assert!(readme.contains(&format!("]({page})")), "README.md has no link to {page}");
    }
    for page in pages().into_iter().chain(["README.md".into()]) {
        let text = read(&page);
        for (kind, block) in blocks(&text) {
            let known = ["rust", "rust,no_run", "rust,ignore", "python", "sh", "sql", "text", "toml"].contains(&kind.as_str());
            assert!(known || kind.starts_with("rust,compile_fail,E"), "{page}: a block of kind \"{kind}\":\n{block}");
        }
        // rustdoc treats an indented block as Rust. Other viewers show the lines that rustdoc hides.
        let outside = text.split("```").step_by(2);
        let indented = outside.flat_map(str::lines).find(|l| l.starts_with("    "));
        assert_eq!(indented, None, "{page}: fence it, and say what it is");
    }
}

/// Pages beside the guide whose links are checked.
const LINKED: [&str; 11] = [
    "README.md",
    "benches/peers/README.md",
    "CHANGELOG.md",
    "docs/architecture.md",
    "docs/benchmarks.md",
    "docs/benchmarks-history.md",
    "docs/deployment.md",
    "docs/formats.md",
    "docs/glossary.md",
    "docs/guarantees.md",
    "docs/spark-api.md",
];

#[test]
fn links_lead_somewhere() {
    for page in pages().into_iter().chain(LINKED.map(String::from)) {
        let text = read(&page);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|l| !l.contains("://")) {
            let target = Path::new(&page).parent().unwrap().join(link.split('#').next().unwrap());
            assert!(target.exists(), "{page} links to {link}");
        }
    }
}

/// docs/guarantees.md names a test for each promise. A name may be cut short with an ellipsis.
#[test]
fn every_test_that_a_promise_names_exists() {
    let folders = ["src", "sql", "tests", "examples", "dataflows"];
    let code: String = folders.iter().flat_map(|folder| rust_files::below(folder)).map(|path| read(&path)).collect();
    let page = read("docs/guarantees.md");
    let named =
        page.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 4 && !name.contains([' ', '/', '.']));
    let names: Vec<&str> = named.filter(|name| !name.starts_with("TIDEMILL")).collect();
    assert!(names.len() > 50, "{}", names.len());
    let missing: Vec<&&str> = names
        .iter()
        .filter(|name| match name.strip_suffix('\u{2026}') {
            // A name on the page may omit its prefix, the row of the fault matrix.
            Some(start) => !code.contains(start),
            None => !code.contains(&format!("fn {name}(")),
        })
        .collect();
    assert!(missing.is_empty(), "docs/guarantees.md names tests that do not exist: {missing:?}");
}

/// The cells of the tables of a page, row by row, without heads.
fn rows(page: &str) -> impl Iterator<Item = Vec<&str>> {
    let tables = page.split("\n\n").filter(|block| block.starts_with("| "));
    tables.flat_map(|table| table.lines().skip(2)).map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
}

/// The words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Sections with methods of the crate `tidemill-sql`. Their tables have a column for tests.
const OF_TABLES: [&str; 5] = ["The session", "DataFrames", "Reading a stream", "Writing a stream", "Queries"];

/// The sections of docs/spark-api.md with tables, by their heads.
fn sections(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.split("\n## ").skip(1).filter_map(|section| section.split_once("\n\n"))
}

/// Whether one of these files has a public method, or a variant, of this name; and with an example, if that is asked for.
fn has_method(files: &[String], name: &str, example: bool) -> bool {
    let found = |text: &str| {
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        let variant = name.starts_with(char::is_uppercase);
        let starts = |line: &str| match variant {
            true => ["(", ","].iter().any(|next| line.starts_with(&format!("{name}{next}"))),
            false => ["(", "<"].iter().any(|next| line.starts_with(&format!("pub fn {name}{next}"))),
        };
        let docs = |at: usize| lines[..at].iter().rev().take_while(|line| line.starts_with("//") || line.starts_with("#["));
        (0..lines.len()).any(|at| starts(lines[at]) && (!example || docs(at).any(|line| line.starts_with("/// ```"))))
    };
    files.iter().any(|text| found(text))
}

/// docs/spark-api.md says for each method of Spark what its name is here, or why there is none.
#[test]
fn every_method_that_the_page_of_sparks_api_names_exists() {
    let of = |folder: &str| rust_files::below(folder).iter().map(|path| read(path)).collect::<Vec<_>>();
    let (engine, tables) = (of("src"), of("sql"));
    let listener = read("src/metrics/listener.rs");
    let page = read("docs/spark-api.md");
    let (mut wrong, mut methods) = (Vec::new(), 0);
    for (head, text) in sections(&page) {
        let of_tables = OF_TABLES.contains(&head);
        let code = if of_tables { &tables } else { &engine };
        let last = |name: &str| name.rsplit("::").next().unwrap_or_default().to_owned();
        let is_method = |name: &str| match name.rsplit_once("::") {
            // The methods of a trait have no `pub`.
            Some(("StreamingListener", callback)) => listener.contains(&format!("fn {callback}(")),
            _ => has_method(code, &last(name), false),
        };
        for row in rows(text) {
            // The last table is about arguments. It has two columns.
            let [spark, here, ref rest @ ..] = row[..] else { panic!("{row:?}") };
            let names: Vec<&str> = if rest.is_empty() { Vec::new() } else { quoted(here).collect() };
            methods += names.len();
            wrong.extend(
                names.iter().filter(|name| !is_method(name)).map(|name| format!("{name}, for {spark}, is not a public method")),
            );
            if here.is_empty() && rest.iter().all(|why| why.is_empty()) {
                wrong.push(format!("{spark} has neither a name nor a reason"));
            }
            // A name of Spark that differs from ours is in the search box.
            let differs = |name: &&str| name.contains(char::is_uppercase) && !names.iter().any(|ours| last(ours) == **name);
            let aliases = quoted(spark).filter(|name| !names.is_empty() && differs(name));
            let unknown = aliases.filter(|name| !code.iter().any(|text| text.contains(&format!("#[doc(alias = \"{name}\")]"))));
            wrong.extend(unknown.map(|name| format!("#[doc(alias = \"{name}\")] is not in the source")));
            if of_tables && !names.is_empty() {
                let [_, test] = rest else { panic!("{head} has a column for tests: {row:?}") };
                let tested = match *test {
                    "its example" => names.iter().all(|name| has_method(code, &last(name), true)),
                    "" => false,
                    tests => quoted(tests).all(|test| code.iter().any(|text| text.contains(&format!("fn {test}(")))),
                };
                if !tested {
                    wrong.push(format!("{here} has no test: {test:?}"));
                }
            }
        }
    }
    assert!(methods > 140, "{methods}");
    assert!(wrong.is_empty(), "docs/spark-api.md:\n{}", wrong.join("\n"));
}

/// The public methods of Spark 3 and 4, by the type that has them. `KafkaUtils` has those of the older Kafka 0.8, too.
const OF_SPARK: [(&str, &str); 6 + 8] = [
    (
        "DStream",
        "cache checkpoint compute context count countByValue countByValueAndWindow countByWindow dependencies filter flatMap \
         foreachRDD glom map mapPartitions persist print reduce reduceByWindow repartition saveAsObjectFiles saveAsTextFiles \
         slice slideDuration transform transformWith union window",
    ),
    (
        "PairDStreamFunctions",
        "cogroup combineByKey flatMapValues fullOuterJoin groupByKey groupByKeyAndWindow join leftOuterJoin mapValues mapWithState \
         reduceByKey reduceByKeyAndWindow rightOuterJoin saveAsHadoopFiles saveAsNewAPIHadoopFiles updateStateByKey",
    ),
    (
        "StreamingContext",
        "addStreamingListener awaitTermination awaitTerminationOrTimeout binaryRecordsStream checkpoint fileStream getActive \
         getActiveOrCreate getOrCreate getState jarOfClass queueStream rawSocketStream receiverStream remember \
         removeStreamingListener socketStream socketTextStream sparkContext start stop textFileStream transform union",
    ),
    (
        "StreamingListener",
        "onBatchCompleted onBatchStarted onBatchSubmitted onOutputOperationCompleted onOutputOperationStarted onReceiverError \
         onReceiverStarted onReceiverStopped onStreamingStarted",
    ),
    ("KafkaUtils", "createDirectStream createRDD createStream"),
    (
        "PySpark's DStream",
        "cache checkpoint cogroup combineByKey context count countByValue countByValueAndWindow countByWindow filter flatMap \
         flatMapValues foreachRDD fullOuterJoin glom groupByKey groupByKeyAndWindow join leftOuterJoin map mapPartitions \
         mapPartitionsWithIndex mapValues partitionBy persist pprint reduce reduceByKey reduceByKeyAndWindow reduceByWindow \
         repartition rightOuterJoin saveAsTextFiles slice transform transformWith union updateStateByKey window",
    ),
    (
        "SparkSession",
        "builder catalog conf createDataFrame emptyDataFrame newSession range read readStream sparkContext sql stop \
         streams table udf version",
    ),
    (
        "Dataset",
        "agg alias as cache checkpoint coalesce col colRegex collect collectAsList columns count createGlobalTempView \
         createOrReplaceGlobalTempView createOrReplaceTempView createTempView crossJoin cube describe distinct drop dropDuplicates \
         dropDuplicatesWithinWatermark dtypes except exceptAll explain filter first flatMap foreach foreachPartition groupBy \
         groupByKey groupingSets head hint inputFiles intersect intersectAll isEmpty isLocal isStreaming join joinWith lateralJoin \
         limit localCheckpoint map mapPartitions melt mergeInto metadataColumn na observe offset orderBy persist printSchema \
         queryExecution randomSplit reduce repartition repartitionByRange rollup sameSemantics sample scalar schema select selectExpr \
         semanticHash show sort sortWithinPartitions sparkSession sqlContext stat storageLevel summary tail take to toDF toJSON \
         toLocalIterator transform transpose union unionAll unionByName unpersist unpivot where withColumn withColumnRenamed \
         withColumns withColumnsRenamed withMetadata withWatermark write writeStream writeTo",
    ),
    (
        "RelationalGroupedDataset",
        "agg avg count flatMapGroupsWithState mapGroupsWithState max mean min pivot sum transformWithState",
    ),
    ("DataStreamReader", "csv format json load option options orc parquet schema table text textFile xml"),
    (
        "DataStreamWriter",
        "Append AvailableNow Complete Continuous Once ProcessingTime Update clusterBy foreach foreachBatch format option options \
         outputMode partitionBy queryName start toTable trigger",
    ),
    (
        "StreamingQuery",
        "awaitTermination exception explain id isActive lastProgress name processAllAvailable recentProgress runId sparkSession status \
         stop",
    ),
    ("StreamingQueryManager", "active addListener awaitAnyTermination get listListeners removeListener resetTerminated"),
    ("StreamingQueryListener", "onQueryIdle onQueryProgress onQueryStarted onQueryTerminated"),
];

/// Sections with methods of streams. `checkpoint`, `transform` and `union` are methods of a context, too.
const OF_STREAMS: [&str; 4] = ["DStream", "Pairs", "State and windows", "Only in PySpark"];

#[test]
fn the_page_of_sparks_api_has_every_method_of_spark() {
    let page = read("docs/spark-api.md");
    let named = |of: &dyn Fn(&str) -> bool| -> Vec<String> {
        let rows = sections(&page).filter(|(head, _)| of(head)).flat_map(|(_, text)| rows(text).collect::<Vec<_>>());
        rows.flat_map(|row| quoted(row[0]).map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    let (streams, tables) = (named(&|head| OF_STREAMS.contains(&head)), |name: &'static str| named(&|head| head == name));
    let others = named(&|head| !OF_STREAMS.contains(&head) && !OF_TABLES.contains(&head));
    let mut missing = Vec::new();
    for (of, names) in OF_SPARK {
        let there = match of {
            "StreamingContext" | "StreamingListener" | "KafkaUtils" => others.clone(),
            "SparkSession" => tables("The session"),
            "Dataset" | "RelationalGroupedDataset" => tables("DataFrames"),
            "DataStreamReader" => tables("Reading a stream"),
            "DataStreamWriter" => tables("Writing a stream"),
            "StreamingQuery" | "StreamingQueryManager" | "StreamingQueryListener" => tables("Queries"),
            _ => streams.clone(),
        };
        let absent = names.split_whitespace().filter(|name| !there.iter().any(|n| n == name));
        missing.extend(absent.map(|name| format!("{name} of {of}")));
    }
    assert!(missing.is_empty(), "docs/spark-api.md has no row for {missing:?}");
}

/// docs/architecture.md names each file of these folders. It names other folders as a whole.
const NAMED: [&str; 7] = ["src", "src/core", "src/engine", "src/api", "src/job", "src/checkpoint", "src/arrangement"];

#[test]
fn the_architecture_page_names_every_file() {
    let map = read("docs/architecture.md");
    let mut missing = Vec::new();
    for entry in NAMED.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        // The page may name a file alone, or in the list of its folder.
        let names = [format!("`{name}.rs`"), format!("`{name}/`"), format!("`{name}`")];
        let fixed = ["mod", "lib", "tests"].contains(&name);
        if !fixed && !names.iter().any(|n| map.contains(n)) {
            missing.push(path);
        }
    }
    assert!(missing.is_empty(), "docs/architecture.md does not name {missing:?}");
}

/// The first error that rustc prints for a program, without its location. Suggestions are cut off: they quote lines of the library.
fn first_error(program: &str) -> String {
    let dir = temp_dir::TempDir::made("pages");
    let file = dir.join("first.rs");
    std::fs::write(&file, program).unwrap();
    let said = compiler::printed(&file, &dir, &["--crate-type=lib", "-Awarnings"]).unwrap_or_default();
    let error = said.split("\n\n").next().unwrap().split("\n   |\nhelp: ").next().unwrap();
    error.lines().filter(|l| !l.trim_start().starts_with("--> ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn programs_that_must_not_compile_fail_with_the_words_of_the_guide() {
    let mut checked = 0;
    for page in pages() {
        let blocks = blocks(&read(&page));
        for pair in blocks.windows(2) {
            let [(kind, program), (next, shown)] = pair else { unreachable!() };
            if kind.starts_with("rust,compile_fail") && next == "text" {
                // The indentation of messages depends on the width of line numbers, including those in the library.
                let plain = |text: &str| text.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
                assert_eq!(plain(&first_error(program)), plain(shown), "{page} shows another error");
                checked += 1;
            }
        }
    }
    assert!(checked >= 2, "flat-map.md and captured-values.md have one each");
}

/// A reader can paste each block as it is. Only a program that must not compile may be incomplete.
#[test]
fn every_program_of_the_guide_is_whole() {
    for page in pages() {
        for (kind, block) in blocks(&read(&page)) {
            if kind == "rust" || kind == "rust,no_run" {
                assert!(block.contains("fn main()"), "{page}: put this block into a program:\n{block}");
                assert!(!block.lines().any(|l| l.starts_with("# ")), "{page}: a line that only rustdoc hides:\n{block}");
            }
        }
    }
}

/// The last program of `dataflows/` or `examples/` that a text names.
fn named_program(text: &str) -> Option<&str> {
    let starts = ["`dataflows/", "`examples/"].iter().filter_map(|folder| text.rfind(folder));
    text[starts.max()? + 1..].split('`').next()
}

/// A block of the kind `rust,ignore` is a piece of a program, which other tests run. The text before it names the file.
#[test]
fn pieces_of_programs_are_as_the_programs_have_them() {
    let plain = |text: &str| text.lines().map(str::trim_start).collect::<Vec<_>>().join("\n");
    let mut checked = 0;
    for page in pages() {
        let text = read(&page);
        for (start, fence) in text.match_indices("\n```rust,ignore\n") {
            let piece = text[start + fence.len()..].split("\n```\n").next().unwrap();
            let program = named_program(&text[..start]).unwrap_or_else(|| panic!("{page} names no program for:\n{piece}"));
            assert!(plain(&read(program)).contains(&plain(piece)), "{page}: {program} does not have this piece:\n{piece}");
            checked += 1;
        }
    }
    assert!(checked >= 10, "the pages of the tutorials have pieces, not {checked}");
}

/// `scripts/bench plot --out docs/bench` draws the pictures again.
#[test]
fn pictures_show_the_figures_beside_them() {
    let end = Command::new("python3").args(["benches/plot.py", "--check", "docs/bench"]).output();
    let end = end.expect("python3; scripts/test installs it");
    assert!(end.status.success(), "{}", String::from_utf8_lossy(&end.stderr));
    let shown: String = ["benchmarks", "benchmarks-history", "scaling"].map(|page| read(&format!("docs/{page}.md"))).concat();
    for entry in std::fs::read_dir("docs/bench").unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        if let Some(name) = file.strip_suffix(".svg") {
            assert!(Path::new("docs/bench").join(format!("{name}.csv")).exists(), "docs/bench/{file} has no figures beside it");
            assert!(shown.contains(&format!("](bench/{file})")), "no page of benchmarks shows docs/bench/{file}");
        }
    }
}

#[test]
fn pictures_of_the_guide_are_what_their_script_draws() {
    let end =
        Command::new("python3").args(["benches/event_time.py", "--check"]).output().expect("python3; scripts/test installs it");
    assert!(end.status.success(), "{}", String::from_utf8_lossy(&end.stderr));
    for entry in std::fs::read_dir("docs/pictures").unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        // Those of the page of a job are from a browser: scripts/browser --pictures.
        let page = if file.ends_with(".png") { "docs/guide/operations.md" } else { "docs/guide/event-time.md" };
        assert!(read(page).contains(&format!("](../pictures/{file})")), "{page} does not show docs/pictures/{file}");
    }
}
