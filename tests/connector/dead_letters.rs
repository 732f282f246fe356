//! Dead letters have all that is needed to read a record again, on any number of workers.

use tidemill::connector::message::Message;
use tidemill::prelude::*;

use crate::harness::eventually;

/// The dead letters of a program over messages with the values 1, x, -2 and 3.
fn letters(workers: u16, program: fn(&StreamingContext<'_>, &DStream<'_, Message>, MemorySink<BadRecord>)) -> Vec<BadRecord> {
    let message = |(offset, value): (i64, &str)| Message::new("sales", 2, offset, None, Some(b"k"), Some(value.as_bytes()));
    let messages = [(4, "1"), (5, "x"), (8, "-2"), (9, "3")].map(message).to_vec();
    let (queue, dead) = (QueueSource::from_batches([messages]), MemorySink::new());
    let out = dead.clone();
    let job = StreamingContext::builder("letters", millis(5)).workers(workers).without_checkpoint().start(move |ssc| {
        program(ssc, &ssc.queue_stream(&queue), out.clone());
        Ok(())
    });
    let job = job.unwrap();
    eventually("the job ends", || job.await_termination_or_timeout(millis(1)).unwrap());
    assert_eq!(job.statistics().bad, 2);
    dead.rows()
}

fn numbers<'s>(messages: &DStream<'s, Message>) -> Decoded<'s, i64> {
    messages.values().try_map(|text| Ok(text.parse::<i64>()?))
}

#[test]
fn streams_that_nobody_takes_are_dead_letters_with_key_and_place() {
    for workers in [1, 2, 4] {
        let letters = letters(workers, |ssc, messages, dead| {
            ssc.dead_letters(dead);
            let positive = numbers(messages).try_map(|n| u32::try_from(*n).map_err(|_| "negative".into()));
            positive.to_memory(&MemorySink::new());
        });
        let of = |bad: &BadRecord| (bad.origin.clone(), bad.partition, bad.offset, bad.key.clone(), bad.raw.clone());
        let expected = [(5, &b"x"[..]), (8, b"-2")];
        let expected = expected.map(|(offset, raw)| ("sales".to_owned(), 2, offset, Some(b"k".to_vec()), raw.to_vec()));
        assert_eq!(letters.iter().map(of).collect::<Vec<_>>(), expected, "{workers} workers");
        assert!(letters.iter().all(|bad| bad.verb.starts_with("try_map (dead_letters.rs:")), "{letters:?}");
    }
}

#[test]
fn a_stream_with_an_output_of_its_own_is_not_taken_twice() {
    let letters = letters(2, |ssc, messages, dead| {
        let numbers = numbers(messages);
        numbers.errors().to_memory(&MemorySink::new());
        let positive = numbers.try_map(|n| u32::try_from(*n).map_err(|_| "negative".into()));
        positive.to_memory(&MemorySink::new());
        ssc.dead_letters(dead);
    });
    assert_eq!(letters.iter().map(|bad| bad.reason.as_str()).collect::<Vec<_>>(), ["negative"]);
}

#[test]
fn two_places_for_all_dead_letters_are_an_error() {
    let lines = tidemill::testing::graph(millis(5), |ssc| {
        ssc.queue_stream(&QueueSource::from_batches([vec![1]])).print(1);
        ssc.dead_letters(MemorySink::new());
        ssc.dead_letters(MemorySink::new());
        Ok(())
    });
    let e = lines.unwrap_err().to_string();
    assert!(e.contains("dead_letters (dead_letters.rs:") && e.contains("call it once"), "{e}");
}

#[test]
fn dead_letters_in_files_are_lines_of_json() {
    let dir = crate::temp_dir::TempDir::made("letters");
    let prefix = dir.join("dead");
    let lines = QueueSource::from_batches([vec!["1".to_owned(), "x".to_owned()]]);
    let job = StreamingContext::builder("files", millis(5)).without_checkpoint().run(move |ssc| {
        ssc.dead_letters(TextFileSink::new(&prefix).skip_empty());
        ssc.queue_stream(&lines).try_map(|text| Ok(text.parse::<i64>()?)).to_memory(&MemorySink::new());
        Ok(())
    });
    job.unwrap();
    let batch = std::fs::read_dir(&*dir).unwrap().next().unwrap().unwrap().path();
    let part = std::fs::read_to_string(batch.join("part-00000")).unwrap();
    let letter: serde_json::Value = serde_json::from_str(part.trim()).unwrap();
    assert_eq!((&letter["value"], &letter["reason"]), (&"x".into(), &"invalid digit found in string".into()), "{letter}");
}

/// The batches that the outputs got before a job of three batches ended, the good rows and the dead letters, and the error.
fn limited(workers: u16, most: &str) -> (Vec<i64>, Vec<String>, Result<Summary, Error>) {
    let lines = [vec!["1", "2", "x", "4"], vec!["5", "y", "z", "8"], vec!["9"]]
        .map(|lines| lines.into_iter().map(str::to_owned).collect::<Vec<_>>());
    let (queue, good, dead) = (QueueSource::from_batches(lines), MemorySink::new(), MemorySink::new());
    let out = (good.clone(), dead.clone());
    let job =
        StreamingContext::builder("limited", millis(5)).workers(workers).without_checkpoint().max_bad(most.parse().unwrap());
    let ended = job.run(move |ssc| {
        let numbers = ssc.queue_stream(&queue).repartition(4).try_map(|text| Ok(text.parse::<i64>()?));
        numbers.to_memory(&out.0);
        ssc.dead_letters(out.1.clone());
        Ok(())
    });
    let mut rows: Vec<i64> = good.rows();
    rows.sort_unstable();
    (rows, dead.rows().into_iter().map(|bad: BadRecord| String::from_utf8(bad.raw).unwrap()).collect(), ended)
}

#[test]
fn a_batch_with_too_many_bad_records_ends_the_job_and_is_not_out() {
    for workers in [1, 2, 4] {
        for most in ["1", "25%"] {
            let (good, dead, ended) = limited(workers, most);
            // A failure drops what waits at outputs, so the batch before may be missing.
            let before = good.is_empty() || good == [1, 2, 4];
            assert!(before && (dead.is_empty() || dead == ["x"]), "{workers} workers, at most {most}: {good:?} {dead:?}");
            let e = ended.unwrap_err();
            assert!(matches!(e, Error::TooManyBad { bad: 2, rows: 4, .. }), "{e}");
            let e = e.to_string();
            assert!(e.contains("2 bad records of 4 rows") && e.contains(most) && e.contains("--max-bad"), "{e}");
        }
        let (good, dead, ended) = limited(workers, "50%");
        assert_eq!((good.len(), dead.len(), ended.unwrap().batches), (6, 3, 3), "{workers} workers, within the limit");
    }
}

/// The good rows that a job got out before it ended, and how it ended. Each text of a batch is a line: bad unless it is a number.
fn in_a_row(workers: u16, most: u64, batches: &[&[&str]], dir: Option<&std::path::Path>) -> (Vec<i64>, Result<Summary, Error>) {
    let lines = batches.iter().map(|lines| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>());
    let (queue, good) = (QueueSource::from_batches(lines), MemorySink::new());
    let out = good.clone();
    let job = StreamingContext::builder("in a row", millis(5)).workers(workers).max_bad_in_a_row(most);
    let job = match dir {
        Some(dir) => job.checkpoint(dir).checkpoint_interval(millis(5)),
        None => job.without_checkpoint(),
    };
    let ended = job.run(move |ssc| {
        ssc.queue_stream(&queue).try_map(|text| Ok(text.parse::<i64>()?)).to_memory(&out);
        Ok(())
    });
    (good.rows(), ended)
}

#[test]
fn too_many_bad_records_in_a_row_end_the_job_over_batches() {
    for workers in [1, 2, 4] {
        let batches: [&[&str]; 5] = [&["1", "x"], &["y"], &[], &["z", "2"], &["3"]];
        let (good, ended) = in_a_row(workers, 2, &batches, None);
        assert!(good.is_empty() || good == [1], "{workers} workers: {good:?}");
        let e = ended.unwrap_err();
        assert!(matches!(e, Error::TooManyBadInARow { bad: 3, most: 2, .. }), "{e}");
        let e = e.to_string();
        assert!(e.contains("3 bad records in a row") && e.contains("--max-bad-in-a-row"), "{e}");
        assert!(e.contains("try_map (dead_letters.rs:") && e.contains("invalid digit"), "{e}");
        let (good, ended) = in_a_row(workers, 3, &batches, None);
        assert_eq!((good, ended.unwrap().batches), (vec![1, 2, 3], 5), "{workers} workers, within the limit");
        // Good rows end a row of bad ones, however many there are in all.
        let (good, ended) = in_a_row(workers, 1, &[&["x", "1"], &["y", "2", "z"], &["3"]], None);
        assert_eq!((good, ended.unwrap().batches), (vec![1, 2, 3], 3));
    }
}

#[test]
fn a_restart_goes_on_counting_bad_records_in_a_row() {
    let dir = crate::temp_dir::TempDir::new("in-a-row");
    let run = |workers, most, batches: &[&[&str]]| in_a_row(workers, most, batches, Some(&dir));
    assert_eq!(run(2, 2, &[&["1", "x"], &["y"]]).1.unwrap().batches, 2);
    // The first two batches are known, so only the third is new.
    let new: [&[&str]; 4] = [&["1", "x"], &["y"], &["z"], &["2"]];
    for workers in [1, 4] {
        let (good, ended) = run(workers, 2, &new);
        assert!(matches!(ended, Err(Error::TooManyBadInARow { bad: 3, .. })), "{ended:?}");
        assert!(good.is_empty(), "the batch is not out, and does not go out when the job is started again");
    }
    assert_eq!(run(3, 3, &new).0, [2], "a larger limit lets it go on");
    // A limit may be taken away: its counts need no --drop-state.
    let (queue, out) = (QueueSource::from_batches([vec!["5".to_owned()]]), MemorySink::new());
    let good = out.clone();
    let job = StreamingContext::builder("in a row", millis(5)).checkpoint(&*dir);
    let ended = job.run(move |ssc| {
        ssc.queue_stream(&queue).try_map(|text| Ok(text.parse::<i64>()?)).to_memory(&out);
        Ok(())
    });
    assert_eq!((ended.unwrap().batches, good.rows()), (1, vec![5]));
}

#[test]
fn dead_letters_say_which_run_wrote_them() {
    let (dir, letters) = (crate::temp_dir::TempDir::new("runs"), crate::temp_dir::TempDir::made("letters"));
    for run in 1..=2_u64 {
        let (prefix, lines) = (letters.join(format!("dead-{run}")), QueueSource::from_batches([vec![format!("x{run}")]]));
        let job = StreamingContext::builder("runs", millis(5)).checkpoint(&*dir).run(move |ssc| {
            ssc.dead_letters(TextFileSink::new(&prefix).skip_empty());
            ssc.queue_stream(&lines).try_map(|text| Ok(text.parse::<i64>()?)).to_memory(&MemorySink::new());
            Ok(())
        });
        job.unwrap();
        let folders = std::fs::read_dir(&*letters).unwrap().map(|entry| entry.unwrap().path());
        let folder = folders.into_iter().find(|path| path.to_string_lossy().contains(&format!("dead-{run}-"))).unwrap();
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let parts = files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("part-")));
        let line = parts.map(|part| std::fs::read_to_string(part).unwrap()).collect::<String>();
        let letter: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
        assert_eq!((&letter["generation"], &letter["value"]), (&run.into(), &format!("x{run}").into()), "{line}");
    }
}
