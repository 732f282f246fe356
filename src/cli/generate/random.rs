//! Pseudorandom numbers, the same for the same seed on every machine.
//!
//! splitmix64: Guy L. Steele, Doug Lea, Christine H. Flood, "Fast Splittable Pseudorandom Number Generators" (OOPSLA 2014);
//! the constants are those of Sebastiano Vigna's public-domain code, <https://prng.di.unimi.it/splitmix64.c>.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below `n`, which must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        // The high half of the product is nearly uniform for every n that is used here.
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Returns a random element.
    pub fn one_of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }
}

/// Numbers from 0, each less likely than the one before: number k has weight `1 / (k + 1) ^ exponent` (Zipf's law).
#[derive(Clone, Debug)]
pub struct Zipf(Vec<f64>);

impl Zipf {
    /// The numbers below `n`.
    pub fn new(n: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=n)
            .map(|k| {
                sum += (k as f64).powf(-exponent);
                sum
            })
            .collect();
        up_to.iter_mut().for_each(|s| *s /= sum);
        Zipf(up_to)
    }

    /// The next number.
    pub fn next(&self, random: &mut Random) -> usize {
        let u = random.unit();
        self.0.partition_point(|s| *s <= u).min(self.0.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_published_code() {
        let mut r = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| r.bits()).collect();
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn numbers_below_n_are_uniform() {
        let mut r = Random::new(1);
        let mut seen = [0; 10];
        (0..100_000).for_each(|_| seen[r.below(10)] += 1);
        assert!(seen.iter().all(|n| (9_500..10_500).contains(n)), "{seen:?}");
    }

    #[test]
    fn a_heavy_tail_has_its_weights() {
        let (z, mut r) = (Zipf::new(1_000, 1.0), Random::new(2));
        let mut seen = vec![0u32; 1_000];
        (0..100_000).for_each(|_| seen[z.next(&mut r)] += 1);
        // H(1000) is 7.485: the first has 13.4 %, the second half of it.
        assert!((12_900..13_900).contains(&seen[0]) && (6_300..7_100).contains(&seen[1]), "{:?}", &seen[..3]);
        assert!(seen[500..].iter().sum::<u32>() > 5_000, "the tail is long");
    }
}
