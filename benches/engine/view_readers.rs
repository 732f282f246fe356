//! One view that three verbs read: what they share, as time and memory.

use std::time::Duration;

use tidemill::prelude::*;

use crate::shared::random;
use crate::{Input, Size, batches, job, measurements, nowhere, show, status, timed, words};

/// A program over pairs.
type Program = fn(&DStream<'_, (String, u32)>);

/// The rows of ten batches.
fn window<'s>(rows: &DStream<'s, (String, u32)>) -> View<'s, (String, u32)> {
    rows.over(secs(10), secs(1))
}

/// What is measured, over how many keys, in batches of 100,000 rows. Readers of a window need its rows, or its rows by key.
const PROGRAMS: [(&str, u32, Program); 5] = [
    ("one reader of rows", 100_000, |rows| nowhere(&window(rows).count_by_value().changes())),
    ("three readers of rows", 100_000, |rows| {
        let rows = window(rows);
        nowhere(&rows.count_by_value().changes());
        nowhere(&rows.distinct().changes());
        nowhere(&rows.count_by_value().map(|(row, count)| (count, row.0)).top(10).changes());
    }),
    ("one reader by key", 100_000, |rows| nowhere(&window(rows).reduce_by_key(u32::max).changes())),
    ("three readers by key", 100_000, |rows| {
        let rows = window(rows);
        let largest = rows.reduce_by_key(u32::max);
        nowhere(&largest.changes());
        nowhere(&rows.reduce_by_key(u32::min).changes());
        nowhere(&rows.join(&largest).changes());
    }),
    ("totals of a million keys", 1_000_000, |rows| nowhere(&rows.map(|(word, _)| word).count_by_value().sum_by_key().update())),
];

/// The argument that makes a process run one program, and say how much memory it needs.
pub const ALONE: &str = "__view_readers";

/// The time of each program, and the memory that it needs beside its input, in a process of its own.
pub fn view_readers(size: Size) {
    let input = input(size);
    measurements(&["MiB"]);
    for (index, (name, keys, program)) in PROGRAMS.iter().enumerate() {
        let own = std::env::current_exe().expect("the path of this program");
        let alone = std::process::Command::new(own).args([ALONE, &index.to_string(), &size.part.to_string()]).output();
        let memory = String::from_utf8(alone.expect("a process of this program").stdout).expect("a number");
        let time = timed(size, || run(&input, *keys, *program));
        show(&format!("view_readers: {name}"), (input.len() * input[0].len()) as f64, &time, &[memory.trim()]);
    }
}

/// Runs the program that the arguments name, and prints its memory in MiB.
pub fn alone(args: &[String]) {
    let [index, part] = [1, 2].map(|n| args[n].parse::<usize>().expect("a number"));
    let input = input(Size { part, ..crate::FULL });
    let before = status("VmRSS:");
    run(&input, PROGRAMS[index].1, PROGRAMS[index].2);
    println!("{:.0}", (status("VmHWM:") - before) / 1024.0);
}

fn input(size: Size) -> Input {
    batches(40, 100_000 / size.part, |s| random(s) as u32)
}

fn run(input: &Input, keys: u32, program: Program) -> Duration {
    let words = words(keys);
    job(1, input, move |s| {
        let pairs = s.map(|i| (words[i as usize % words.len()].clone(), i >> 30));
        program(&pairs);
    })
}
