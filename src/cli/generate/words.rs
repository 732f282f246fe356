//! Words: 5,000 of 7 letters, as the benchmark of word counts has them, as JSON or as lines of text.

use super::{Generate, Random, spoil_json};

const WORDS: usize = 5_000;
const LETTERS: usize = 7;

/// Generates words with equal probability.
pub struct Words {
    random: Random,
    words: Vec<[u8; LETTERS]>,
    /// Words per line. `None`: one word in a JSON object.
    a_line: Option<usize>,
}

impl Words {
    /// `{"word": "…"}`, one word a record.
    pub fn json(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut words: Vec<[u8; LETTERS]> = Vec::with_capacity(WORDS);
        let mut seen = std::collections::BTreeSet::new();
        while words.len() < WORDS {
            let word = [(); LETTERS].map(|()| b'a' + random.below(26) as u8);
            if seen.insert(word) {
                words.push(word);
            }
        }
        Words { random, words, a_line: None }
    }

    /// Lines of this many words.
    pub fn lines(seed: u64, words: usize) -> Self {
        Words { a_line: Some(words), ..Words::json(seed) }
    }
}

impl Generate for Words {
    fn write(&mut self, _: u64, out: &mut Vec<u8>) {
        let Some(n) = self.a_line else {
            out.extend_from_slice(b"{\"word\": \"");
            out.extend_from_slice(&self.words[self.random.below(WORDS)]);
            return out.extend_from_slice(b"\"}");
        };
        for i in 0..n {
            if i > 0 {
                out.push(b' ');
            }
            out.extend_from_slice(&self.words[self.random.below(WORDS)]);
        }
    }

    /// Invalid JSON, or a line that is not UTF-8.
    fn write_spoiled(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        let begin = out.len();
        self.write(at_ms, out);
        match self.a_line {
            None => spoil_json(&mut self.random, out, begin),
            Some(_) => out.push(0xff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn next(words: &mut Words) -> Vec<u8> {
        let mut out = Vec::new();
        words.write(0, &mut out);
        out
    }

    #[test]
    fn the_same_seed_is_the_same_words() {
        let (mut a, mut b) = (Words::json(5), Words::json(5));
        assert!((0..100).all(|_| next(&mut a) == next(&mut b)));
    }

    #[test]
    fn all_words_come_and_have_seven_letters() {
        let mut words = Words::json(5);
        let mut seen = BTreeMap::<String, u32>::new();
        for _ in 0..100_000 {
            let w: serde_json::Value = serde_json::from_slice(&next(&mut words)).unwrap();
            *seen.entry(w["word"].as_str().unwrap().into()).or_default() += 1;
        }
        assert_eq!(seen.len(), WORDS);
        assert!(seen.iter().all(|(w, n)| w.len() == LETTERS && *n < 60));
    }

    #[test]
    fn lines_have_their_words() {
        let mut words = Words::lines(5, 9);
        assert_eq!(std::str::from_utf8(&next(&mut words)).unwrap().split(' ').count(), 9);
        let mut out = Vec::new();
        words.write_spoiled(0, &mut out);
        assert!(std::str::from_utf8(&out).is_err());
        let (mut words, mut out) = (Words::json(1), Vec::new());
        for _ in 0..200 {
            out.clear();
            words.write_spoiled(0, &mut out);
            assert!(serde_json::from_slice::<serde_json::Value>(&out).is_err(), "{}", String::from_utf8_lossy(&out));
        }
    }
}
