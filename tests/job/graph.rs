//! Errors in a program are reported before the job starts, all of them together.

use super::*;
use crate::harness::in_time;
use crate::temp_dir::TempDir;

fn error(program: impl for<'s> Fn(&StreamingContext<'s>) -> Result<(), BoxError> + Send + Sync + 'static) -> Error {
    in_time(move || match job(2).start_on_clock(ManualClock::at(0), program) {
        Ok(_) => panic!("it started"),
        Err(e) => e,
    })
}

#[test]
fn a_build_closure_that_fails() {
    let e = error(|_| Err("no such city".into()));
    assert!(matches!(&e, Error::Build(_)) && e.to_string().contains("no such city"), "{e}");
    let e = error(|_| {
        "x".parse::<u32>()?;
        Ok(())
    });
    assert!(matches!(&e, Error::Build(_)) && e.to_string().contains("invalid digit"), "{e}");
}

#[test]
fn a_build_closure_that_panics() {
    let e = error(|_| panic!("built on sand"));
    assert!(e.to_string().contains("built on sand"), "{e}");
}

/// The job ends even if the closure fails on only one worker.
#[test]
fn a_build_closure_that_fails_on_one_worker_only() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for panics in [false, true] {
        let calls = AtomicUsize::new(0);
        let program = move |ssc: &StreamingContext<'_>| {
            ssc.queue_stream(&QueueSource::<i64>::new()).print(1);
            match calls.fetch_add(1, Ordering::SeqCst) {
                3 if panics => panic!("the fourth time"),
                3 => Err("the fourth time".into()),
                _ => Ok(()),
            }
        };
        let e = in_time(move || job(4).run(program)).unwrap_err();
        assert!(e.to_string().contains("the fourth time"), "{e}");
    }
}

#[test]
fn a_program_without_outputs() {
    let e = error(|ssc| {
        let _ = ssc.queue_stream(&QueueSource::<i64>::new()).count();
        Ok(())
    });
    assert!(matches!(&e, Error::Graph(p) if p.len() == 1) && e.to_string().contains("no output operation"), "{e}");
}

/// A refused output must not add the error that there is no output.
#[test]
fn a_refused_output_is_the_only_error() {
    let e = error(|ssc| {
        let numbers = ssc.queue_stream(&QueueSource::<i64>::new());
        numbers.over(millis(TICK), millis(TICK)).append().save_as_text_files("", "txt");
        Ok(())
    });
    let Error::Graph(problems) = &e else { panic!("{e}") };
    assert_eq!(problems.len(), 2, "{e}");
    assert!(problems[0].contains("append (graph.rs:") && problems[1].contains("save_as_text_files (graph.rs:"), "{e}");
}

/// The check compares paths, not their spelling. Another suffix is another set of files.
#[test]
fn two_outputs_with_the_same_files() {
    let dir = TempDir::made("same-files");
    let (prefix, again) = (dir.join("words"), dir.join(".").join("words"));
    let from = line!();
    let e = error(move |ssc| {
        let words = ssc.queue_stream(&QueueSource::<i64>::new());
        words.save_as_text_files(&prefix, "txt");
        words.save_as_text_files(&prefix, "log");
        words.count().save_as_text_files(&again, "txt");
        Ok(())
    });
    let Error::Graph(problems) = &e else { panic!("{e}") };
    assert_eq!(problems.len(), 1, "{e}");
    let (first, second) =
        (format!("save_as_text_files (graph.rs:{})", from + 3), format!("save_as_text_files (graph.rs:{})", from + 5));
    assert!(problems[0].starts_with(&format!("{second}: {first} writes to the files under prefix")), "{e}");
}

/// A row has 16 bits for the stream of a union that it comes from.
#[test]
fn too_many_streams_in_a_union_are_an_error() {
    let united = |batches: u64| {
        move |ssc: &StreamingContext<'_>| {
            let window = ssc.queue_stream(&QueueSource::<i64>::new()).window(millis(batches * TICK), millis(TICK));
            window.union(&window).print(1);
            Ok(())
        }
    };
    let e = error(united(32_769));
    assert!(e.to_string().contains("union (graph.rs:") && e.to_string().contains("65538 streams are united"), "{e}");
    job(1).start_on_clock(ManualClock::at(0), united(32_768)).unwrap().stop_now().unwrap();
}

#[test]
fn a_fault_is_reported_once_even_if_its_line_runs_often() {
    let e = error(|ssc| {
        let numbers = ssc.queue_stream(&QueueSource::<i64>::new());
        let another = numbers.count_by_value_and_window(millis(7), millis(10));
        (0..3).for_each(|_| numbers.count_by_window(millis(5), millis(10)).print(1));
        another.print(1);
        Ok(())
    });
    let Error::Graph(problems) = &e else { panic!("{e}") };
    let verbs: Vec<&str> = problems.iter().map(|p| p.split_once(" (").unwrap().0).collect();
    assert_eq!(verbs, ["count_by_value_and_window", "count_by_window"], "{e}");
}

#[test]
fn names_without_a_state_and_names_in_use_are_errors() {
    let e = error(|ssc| {
        let s = ssc.queue_stream(&QueueSource::<(u8, i64)>::new());
        let state = |_: &[i64], n: Option<i64>| n;
        s.count().named("lonely").print(1);
        s.update_state_by_key(state).named("sums").print(1);
        s.update_state_by_key(state).map_values(|n| n + 1).named("sums").print(1);
        Ok(())
    });
    let Error::Graph(problems) = &e else { panic!("{e}") };
    assert_eq!(problems.len(), 2, "{e}");
    assert!(problems[0].contains("named (graph.rs:") && problems[0].contains("\"lonely\" names nothing"), "{e}");
    assert!(problems[1].contains("\"sums\" is taken"), "{e}");
}

#[test]
fn a_name_after_two_states_names_neither() {
    let e = error(|ssc| {
        let s = ssc.queue_stream(&QueueSource::<(u8, i64)>::new());
        let sums = s.sum_by_key();
        sums.join(&s.fold_by_key(0, |n, m| n + m)).named("join").print(1);
        sums.union(&s.accumulate()).named("union").print(1);
        sums.join(&sums).named("itself").print(1);
        s.join(&s.fold_by_key(0, |n, m| n * m).update()).named("products").print(1);
        Ok(())
    });
    let Error::Graph(problems) = &e else { panic!("{e}") };
    assert_eq!(problems.len(), 2, "{e}");
    assert!(problems[0].contains("\"join\" names nothing") && problems[0].contains("before they meet"), "{e}");
    assert!(problems[1].contains("\"union\" names nothing"), "{e}");
}

#[test]
fn a_name_is_found_through_narrow_verbs() {
    let queue = QueueSource::from_batches([vec![(1u8, 1i64)]]);
    let program = move |ssc: &StreamingContext<'_>| {
        let s = ssc.queue_stream(&queue).update_state_by_key(|new: &[i64], _: Option<i64>| new.first().copied());
        s.filter(|_| true).map(|r| r).named("sums").to_memory(&MemorySink::new());
        Ok(())
    };
    job(1).run(program).unwrap();
}

#[test]
fn invalid_settings_are_errors() {
    let program = |ssc: &StreamingContext<'_>| {
        ssc.queue_stream(&QueueSource::<i64>::new()).print(1);
        Ok(())
    };
    for (name, interval, says) in [("", millis(5), "must not be empty"), ("a", millis(0), "1 ms"), ("a/b", millis(5), "'/'")] {
        let e = StreamingContext::builder(name, interval).run(program).unwrap_err();
        assert!(matches!(e, Error::Config(_)) && e.to_string().contains(says), "{e}");
    }
}
