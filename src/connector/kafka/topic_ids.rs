//! The ids of topics. A topic that was deleted and made again has another id, and its offsets belong to other records.
//!
//! rdkafka has no safe call for it.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int};

use rdkafka::bindings as rd;
use rdkafka::consumer::Consumer;

use crate::connector::kafka::client::{Metadata, START_DEADLINE};

/// The ids of topics, by name.
pub(super) type TopicIds = BTreeMap<String, u128>;

/// The ids of these topics, if they have one: brokers before 2.8 have none. Blocks until a broker answers; empty if none does.
pub(super) fn topic_ids<'a>(metadata: &Metadata, names: impl Iterator<Item = &'a str>) -> TopicIds {
    let names: Vec<CString> = names.filter_map(|n| CString::new(n).ok()).collect();
    let mut pointers: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
    let mut found = TopicIds::new();
    let Some(first) = names.first().and_then(|n| n.to_str().ok()) else { return found };
    // Ask any broker. Otherwise librdkafka would wait for the controller, which may be down or unknown.
    let Ok(answer) = metadata.consumer.fetch_metadata(Some(first), START_DEADLINE) else { return found };
    let (wait, describe) = (START_DEADLINE.as_millis() as c_int, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
    // SAFETY: the client and the names live through all calls. Each object made here is destroyed here, once, after its last
    // use. The answer belongs to its event. A timeout gives a null event, which is not read. An event of another kind has a
    // null answer, which `read` takes.
    unsafe {
        let client = metadata.consumer.client().native_ptr();
        let (queue, options) = (rd::rd_kafka_queue_new(client), rd::rd_kafka_AdminOptions_new(client, describe));
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        rd::rd_kafka_AdminOptions_set_request_timeout(options, wait, std::ptr::null_mut(), 0);
        rd::rd_kafka_AdminOptions_set_broker(options, answer.orig_broker_id(), std::ptr::null_mut(), 0);
        rd::rd_kafka_DescribeTopics(client, topics, options, queue);
        let event = rd::rd_kafka_queue_poll(queue, wait + 1_000);
        if !event.is_null() {
            found = read(rd::rd_kafka_event_DescribeTopics_result(event));
            rd::rd_kafka_event_destroy(event);
        }
        rd::rd_kafka_TopicCollection_destroy(topics);
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_queue_destroy(queue);
    }
    found
}

/// # Safety
/// `answer` is null or alive.
unsafe fn read(answer: *const rd::rd_kafka_DescribeTopics_result_t) -> TopicIds {
    let (mut found, mut count) = (TopicIds::new(), 0);
    if answer.is_null() {
        return found;
    }
    // SAFETY: the answer has `count` topics, whose names are C strings and whose ids live as long as it does.
    unsafe {
        let topics = rd::rd_kafka_DescribeTopics_result_topics(answer, &mut count);
        for i in 0..count {
            let topic = *topics.add(i);
            let (name, id) = (rd::rd_kafka_TopicDescription_name(topic), rd::rd_kafka_TopicDescription_topic_id(topic));
            if id.is_null() || name.is_null() {
                continue;
            }
            let halves = [rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id)];
            let id = halves.iter().fold(0, |id, half| id << 64 | u128::from(*half as u64));
            if id != 0 {
                found.insert(CStr::from_ptr(name).to_string_lossy().into_owned(), id);
            }
        }
    }
    found
}

/// Checks that these topics are the known ones.
///
/// # Errors
/// A topic was deleted and made again; the error names it.
pub(super) fn check_same(known: &TopicIds, now: &TopicIds) -> Result<(), String> {
    match now.iter().find(|(name, id)| known.get(*name).is_some_and(|known| known != *id)) {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "topic {name} was deleted and made again under its name: the offsets that were read are not those of this topic; \
             start again with an empty checkpoint directory"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_topic_that_was_known_by_another_id_is_another() {
        let topic_ids = |all: &[(&str, u128)]| all.iter().map(|(name, id)| (name.to_string(), *id)).collect::<TopicIds>();
        let known = topic_ids(&[("a", 1), ("b", 2)]);
        for same_still in [&[][..], &[("a", 1)], &[("a", 1), ("new", 7)]] {
            check_same(&known, &topic_ids(same_still)).unwrap();
        }
        assert!(
            check_same(&known, &topic_ids(&[("a", 1), ("b", 3)])).unwrap_err().contains("topic b was deleted and made again")
        );
    }
}
