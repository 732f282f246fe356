//! Shards that are split and merged while a job reads them.

use std::collections::BTreeMap;

use crate::reading::{batches, in_order, numbers, reaches, reads_all, start, take_over};
use crate::server::Server;
use crate::temp_dir::TempDir;

#[test]
fn children_are_read_after_their_parents_and_keys_stay_in_order() {
    for workers in [1, 2, 4] {
        let server = Server::start();
        server.stream("numbers", 2);
        let (job, rows) = start(None, workers, server.source("numbers"));
        server.put_numbers("numbers", 0..400, 13);
        server.split("numbers", &server.open("numbers")[0]);
        server.put_numbers("numbers", 400..800, 13);
        // The two children of the first shard are one again, and one of the others is split.
        let open = server.open("numbers");
        server.merge("numbers", &open[1], &open[2]);
        server.split("numbers", &open[0]);
        server.put_numbers("numbers", 800..1_200, 13);
        reaches(&job, "all are read", || rows.rows().len() == 1_200);
        assert_eq!(numbers(&rows.rows()), (0..1_200).collect::<Vec<_>>(), "{workers} workers");
        in_order(batches(&rows).values());
        let read: std::collections::BTreeSet<i32> = rows.rows().iter().map(|(_, _, _, shard)| *shard).collect();
        assert!(read.len() >= 5, "shards {read:?}");
        job.stop_gracefully().unwrap();
    }
}

#[test]
fn a_job_that_is_started_again_knows_which_shards_it_has_read() {
    let (server, dir) = (Server::start(), TempDir::made("kinesis-reshard"));
    server.stream("numbers", 1);
    let (mut all, mut put) = (BTreeMap::new(), 0);
    for (round, graceful) in [false, true, false, false].into_iter().enumerate() {
        let (job, rows) = start(Some(&dir), [1, 2, 4, 2][round], server.source("numbers"));
        server.put_numbers("numbers", put..put + 100, 13);
        server.split("numbers", &server.open("numbers")[round / 2]);
        server.put_numbers("numbers", put + 100..put + 200, 13);
        put += 200;
        // A child may be read or not when the job ends.
        reaches(&job, "the parent is read", || rows.rows().iter().any(|(_, n, ..)| *n >= put - 200 + 20 * round as i64));
        match graceful {
            true => job.stop_gracefully().map(drop).unwrap(),
            false => job.stop_now().map(drop).unwrap(),
        }
        take_over(&mut all, &rows);
        if round == 1 {
            let open = server.open("numbers");
            server.merge("numbers", &open[1], &open[2]);
        }
    }
    let (job, rows) = start(Some(&dir), 2, server.source("numbers"));
    reads_all(&job, &all, &rows, put);
    job.stop_gracefully().unwrap();
    take_over(&mut all, &rows);
    in_order(all.values());
    assert_eq!(numbers(&all.into_values().flatten().collect::<Vec<_>>()), (0..put).collect::<Vec<_>>());
}

#[test]
fn the_number_of_shards_changes_on_another_server() {
    let server = Server::of("kinesis-local");
    server.stream("numbers", 2);
    let (job, rows) = start(None, 2, server.source("numbers"));
    server.put_numbers("numbers", 0..100, 13);
    server.reshard("numbers", 3);
    server.put_numbers("numbers", 100..200, 13);
    reaches(&job, "all are read", || rows.rows().len() == 200);
    in_order(batches(&rows).values());
    assert_eq!(numbers(&rows.rows()), (0..200).collect::<Vec<_>>());
    job.stop_gracefully().unwrap();
}
