//! The watermark of two streams that a verb joins: the smaller one. A stream that is quiet while the other has rows does not hold it for
//! ever. Worker 0 keeps what that needs, and tells all workers, as for the watermark of one stream.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concat;

use super::event_time::EventTimeStream;
use super::watermark::{Watermark, Watermarks, earlier, report, told_to_all};
use crate::api::dstream::lazy;
use crate::core::data::encoded;
use crate::core::error::BoxError;
use crate::core::time::BatchTime;
use crate::engine::flow::{PendingBatches, batched, map_containers};
use crate::engine::operator_id::OperatorId;
use crate::engine::state::{Changes, Groups, KeyedState};
use crate::metrics::held::Held;

/// Two streams, on worker 0.
struct Joint {
    /// After how long each is idle.
    idle: [Duration; 2],
    /// The batch interval in milliseconds.
    interval: u64,
    /// How long each had no rows in batches in which the other had some: milliseconds of batch time.
    quiet: [u64; 2],
    /// The watermark before the last batch, and after it.
    last: Option<(i64, i64)>,
    /// Whether it changed since the last snapshot.
    changed: bool,
}

impl Joint {
    fn new(idle: [Duration; 2], interval: u64) -> Self {
        Joint { idle, interval, quiet: [0; 2], last: None, changed: false }
    }

    /// The watermark of a batch with these watermarks of both streams.
    fn batch(&mut self, both: [Watermark; 2]) -> Watermark {
        self.changed = true;
        for side in 0..2 {
            match [side, 1 - side].map(|side| both[side].largest.is_some()) {
                [true, _] => self.quiet[side] = 0,
                [false, true] => self.quiet[side] = self.quiet[side].saturating_add(self.interval),
                [false, false] => {}
            }
        }
        let idle = |side: &usize| u128::from(self.quiet[*side]) >= self.idle[*side].as_millis();
        // Never both: a stream becomes idle by rows of the other one.
        let now = (0..2).filter(|side| !idle(side)).map(|side| both[side].now).min();
        let before = self.last.map_or(both[0].before.min(both[1].before), |(_, now)| now);
        let now = before.max(now.unwrap_or(before));
        self.last = Some((before, now));
        Watermark { before, now, largest: both[0].largest.max(both[1].largest) }
    }

    /// The watermark of the last batch, before there is another: windows that closed with it have yet to leave their view.
    fn restored(&self) -> Watermark {
        let (before, now) = self.last.unwrap_or((i64::MIN, i64::MIN));
        Watermark { before, now, largest: None }
    }
}

impl KeyedState for Joint {
    fn snapshot(&mut self, _: BatchTime) -> Changes {
        Changes { groups: Groups::first(std::mem::take(&mut self.changed)), expired: None }
    }

    fn held(&self) -> Held {
        Held::default()
    }

    fn save(&mut self, group: u64, _: BatchTime) -> Vec<u8> {
        if group == 0 && self.last.is_some() { encoded(&(self.quiet, self.last)) } else { Vec::new() }
    }

    fn load(&mut self, bytes: &[u8], _: BatchTime) -> Result<(), BoxError> {
        (self.quiet, self.last) = postcard::from_bytes(bytes)?;
        Ok(())
    }
}

/// The watermark of two streams, and the same `hold` microseconds earlier; and the operator that reports it.
#[track_caller]
pub(super) fn joint<'s, A, B>(
    left: &EventTimeStream<'s, A>,
    right: &EventTimeStream<'s, B>,
    operator: &OperatorId,
    hold: i64,
) -> ([Watermarks<'s>; 2], OperatorId) {
    let (graph, verb) = (left.rows.node.graph.clone(), operator.clone());
    let (least, reports) = if Rc::ptr_eq(&left.watermarks, &right.watermarks) {
        (left.watermarks.clone(), left.operator.clone())
    } else {
        let operator = graph.operator::<()>("joint_watermark", "");
        let state = Rc::new(RefCell::new(Joint::new([left.idle, right.idle], graph.config.interval.millis())));
        let (_, owner) = graph.register_state(&operator, state.clone());
        let (own, both) = (graph.clone(), [left.watermarks.clone(), right.watermarks.clone()]);
        let of_both = operator.clone();
        let least = lazy(move || {
            let (owner, flow, on_worker_0) = (owner.build(), &own.flow, own.on_worker_0());
            let peers = flow.scope.peers() as u64;
            let side = |side: usize| {
                let own = (**both[side]).clone();
                map_containers(flow, &operator, own, move |_, watermarks: Vec<Watermark>, emit| {
                    emit(watermarks.into_iter().map(|watermark| (side, watermark)).collect());
                })
            };
            let each = |pending: &mut PendingBatches<[Option<Watermark>; 2]>, t, all: Vec<(usize, Watermark)>| {
                let both = pending.at(t);
                all.into_iter().for_each(|(side, watermark)| both[side] = Some(watermark));
            };
            let (outbox, reports) = (own.outbox.clone(), operator.clone());
            let sent = batched(flow, &operator, side(0).concat(side(1)), Pipeline, each, move |tick, both, emit| {
                let watermark = owner.batch(tick, || {
                    let mut state = state.borrow_mut();
                    let both = both.map(|watermark| watermark.expect("worker 0 sends the watermark of each batch"));
                    if tick.restored { state.restored() } else { state.batch(both) }
                });
                if on_worker_0 {
                    report(&outbox, &reports, tick, watermark);
                    emit((0..peers).map(|worker| (worker, watermark)).collect());
                }
            });
            told_to_all(flow, &operator, sent)
        });
        (Rc::new(least), of_both)
    };
    let (own, before) = (graph, least.clone());
    let held = if hold == 0 { least.clone() } else { Rc::new(lazy(move || earlier(&before, hold, &verb, &own.flow))) };
    ([least, held], reports)
}

/// See [`crate::engine::state::take_any`].
#[cfg(any(test, feature = "testing"))]
pub(super) fn take_any(bytes: &[u8]) -> bool {
    crate::engine::state::take_any(Joint::new([Duration::from_secs(1); 2], 1), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::millis;

    fn joint() -> Joint {
        Joint::new([millis(3), millis(2)], 1)
    }

    /// The watermarks after batches. Of each: those of both streams, and which of them had rows.
    fn after(joint: &mut Joint, batches: &[([i64; 2], [bool; 2])]) -> Vec<i64> {
        let mut last = joint.restored().now;
        let of_batch = |(both, rows): &([i64; 2], [bool; 2])| {
            let of = |side: usize| Watermark { before: i64::MIN, now: both[side], largest: rows[side].then_some(both[side]) };
            let watermark = joint.batch([of(0), of(1)]);
            assert_eq!(watermark.before, last);
            last = watermark.now;
            last
        };
        batches.iter().map(of_batch).collect()
    }

    const BOTH: [bool; 2] = [true, true];
    const LEFT: [bool; 2] = [true, false];
    const RIGHT: [bool; 2] = [false, true];
    const NONE: [bool; 2] = [false, false];

    #[test]
    fn a_quiet_stream_holds_the_other_until_it_is_idle() {
        let batches = [([5, 9], BOTH), ([10, 9], LEFT), ([10, 9], NONE), ([20, 9], LEFT), ([20, 11], RIGHT), ([30, 28], BOTH)];
        assert_eq!(after(&mut joint(), &batches), [5, 9, 9, 20, 20, 28], "idle after two batches with rows on the left");
        let batches = [([5, 9], RIGHT), ([5, 12], RIGHT), ([5, 15], RIGHT), ([7, 15], LEFT), ([16, 18], BOTH)];
        assert_eq!(after(&mut joint(), &batches), [5, 5, 15, 15, 16]);
    }

    #[test]
    fn it_goes_on_from_what_is_saved() {
        let (mut whole, mut first) = (joint(), joint());
        let batches = [([5, 9], BOTH), ([10, 9], LEFT), ([20, 9], LEFT), ([21, 10], RIGHT), ([22, 22], BOTH)];
        let expected = after(&mut whole, &batches);
        let before = after(&mut first, &batches[..2]);
        assert_eq!(first.snapshot(BatchTime::default()).groups, Groups::first(true));
        assert_eq!(first.save(1, BatchTime::default()), [0u8; 0]);
        let mut again = joint();
        again.load(&first.save(0, BatchTime::default()), BatchTime::default()).unwrap();
        assert_eq!(again.restored(), Watermark { before: 5, now: 9, largest: None });
        assert_eq!([before, after(&mut again, &batches[2..])].concat(), expected);
        assert_eq!(joint().save(0, BatchTime::default()), [0u8; 0], "nothing before the first batch");
    }
}
