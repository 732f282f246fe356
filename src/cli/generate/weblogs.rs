//! Requests to a web server in Combined Log Format.

use super::{Generate, Random, Zipf, date};

const HOSTS: usize = 2_000;
const PAGES: &[&str] = &[
    "/",
    "/index.html",
    "/blog/",
    "/style.css",
    "/favicon.ico",
    "/images/tide.png",
    "/about",
    "/search?q=tide",
    "/robots.txt",
    "/docs/guide.html",
    "/docs/windows.html",
    "/login",
    "/api/batches",
    "/api/windows",
    "/feed.xml",
    "/downloads/tidemill.tar.gz",
];
const METHODS: &[&str] = &["GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "POST", "POST", "HEAD"];
const STATUS: &[&str] = &["200", "200", "200", "200", "200", "200", "200", "304", "304", "404", "301", "500"];
const REFERRERS: &[&str] = &["-", "-", "http://www.google.com/", "http://tide.example/index.html", "http://tide.example/blog/"];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (Windows NT 6.1; WOW64; rv:27.0) Gecko/20100101 Firefox/27.0",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/32.0.1700.107 Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "curl/7.52.1",
];

/// Generates requests.
pub struct Weblogs {
    random: Random,
    host: Zipf,
    page: Zipf,
}

impl Weblogs {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Weblogs { random: Random::new(seed), host: Zipf::new(HOSTS, 1.0), page: Zipf::new(PAGES.len(), 1.0) }
    }
}

impl Generate for Weblogs {
    fn write(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        let r = &mut self.random;
        let host = self.host.next(r);
        let at = date(at_ms, "%d/%b/%Y:%H:%M:%S +0000");
        let (method, page, status) = (r.one_of(METHODS), PAGES[self.page.next(r)], r.one_of(STATUS));
        let size = if status == "304" { "-".to_string() } else { (100 + r.below(60_000)).to_string() };
        let (referrer, agent) = (r.one_of(REFERRERS), r.one_of(AGENTS));
        let line = format!(
            "10.{}.{}.{} - - [{at}] \"{method} {page} HTTP/1.1\" {status} {size} \"{referrer}\" \"{agent}\"",
            host % 7,
            host / 250,
            host % 250
        );
        out.extend_from_slice(line.as_bytes());
    }

    /// Cut somewhere before the status.
    fn write_spoiled(&mut self, at_ms: u64, out: &mut Vec<u8>) {
        let begin = out.len();
        self.write(at_ms, out);
        let request = out[begin..].windows(2).position(|w| w == b"\" ").unwrap_or(1);
        out.truncate(begin + self.random.below(request));
    }
}

#[cfg(test)]
mod tests {
    use super::super::BEGIN_MS;
    use super::*;

    #[test]
    fn lines_are_in_the_format_and_spoiled_ones_are_not() {
        let form = regex::Regex::new(r#"^\S+ \S+ \S+ \[[^\]]+\] "[A-Z]+ \S+ HTTP/1\.1" \d{3} (\d+|-) "[^"]*" "[^"]*"$"#).unwrap();
        let (mut a, mut b) = (Weblogs::new(1), Weblogs::new(1));
        let next = |w: &mut Weblogs, good: bool| {
            let mut out = Vec::new();
            if good {
                w.write(BEGIN_MS, &mut out)
            } else {
                w.write_spoiled(BEGIN_MS, &mut out)
            };
            out
        };
        for i in 0..1_000 {
            let (out, again) = (next(&mut a, i % 2 == 0), next(&mut b, i % 2 == 0));
            let line = std::str::from_utf8(&out).unwrap();
            assert_eq!(form.is_match(line), i % 2 == 0, "{line}");
            assert_eq!(out, again);
        }
    }
}
