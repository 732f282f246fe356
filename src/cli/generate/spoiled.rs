//! Unreadable records, at a given share, for tests of how programs handle them.

use super::{Generate, Random};

/// A generator of which a share of the records is spoiled.
pub struct Spoiled<G> {
    inner: G,
    share: f64,
    random: Random,
    spoiled: u64,
}

impl<G: Generate> Spoiled<G> {
    /// Spoils this share, from 0 to 1, of the records that `inner` makes.
    pub fn new(inner: G, share: f64, seed: u64) -> Self {
        Spoiled { inner, share, random: Random::new(seed ^ 0xbad), spoiled: 0 }
    }

    /// The number of spoiled records so far.
    pub fn spoiled(&self) -> u64 {
        self.spoiled
    }
}

impl<G: Generate> Generate for Spoiled<G> {
    fn write(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        if self.share > 0.0 && self.random.unit() < self.share {
            self.write_spoiled(at_ms, out);
        } else {
            self.inner.write(at_ms, out);
        }
    }

    fn write_spoiled(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        self.spoiled += 1;
        self.inner.write_spoiled(at_ms, out);
    }
}

/// Makes the JSON object from `begin` on unreadable. It truncates it, removes a comma, has a byte that is not UTF-8 for a quote, or replaces it
/// by an error page of a proxy.
pub fn spoil_json(random: &mut Random, out: &mut Vec<u8>, begin: usize) {
    let len = out.len() - begin;
    match random.below(4) {
        0 => out.truncate(begin + 1 + random.below(len - 1)),
        1 => match out[begin..].windows(2).position(|w| w == b"\",") {
            Some(comma) => out[begin + comma + 1] = b' ',
            None => out.truncate(begin + len / 2),
        },
        2 => {
            let text = out[begin..].windows(3).rposition(|w| w == b"\":\"").map_or(1, |p| p + 2);
            out[begin + text] = 0xff;
        }
        _ => {
            out.truncate(begin);
            out.extend_from_slice(b"<html><head><title>502 Bad Gateway</title></head></html>");
        }
    }
}
