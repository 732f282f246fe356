//! `/metrics`: the text format of Prometheus.

use std::fmt::{Display, Write};

use crate::http::reader::Reader;
use crate::http::samples::{Labels, Metric, Number, Values, all, seconds};
use crate::metrics::histogram::{BOUNDS_MS, Histogram};

/// The metrics of the job, in process 0, and of this process.
pub(super) fn text(reader: &Reader) -> String {
    let mut text = Text::default();
    all(&reader.about, &reader.metrics).iter().for_each(|metric| text.metric(metric));
    text.0
}

/// The text under construction.
#[derive(Default)]
struct Text(String);

impl Text {
    fn metric(&mut self, Metric { name, help, values }: &Metric) {
        let (kind, samples) = match values {
            Values::Counter(samples) => ("counter", samples),
            Values::Gauge(samples) => ("gauge", samples),
            Values::Histogram(histogram) => {
                self.head(name, "histogram", help);
                return self.histogram(name, histogram);
            }
        };
        self.head(name, kind, help);
        for (labels, value) in samples {
            match value {
                Number::Whole(n) => self.sample(name, labels, n),
                Number::Real(n) => self.sample(name, labels, n),
            }
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &Labels, value: impl Display) {
        self.0.push_str(name);
        for (i, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{label}=\"{value}\"", if i == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn histogram(&mut self, name: &str, histogram: &Histogram) {
        let bounds = BOUNDS_MS.iter().map(|bound| (*bound as f64 / 1_000.0).to_string()).chain(["+Inf".into()]);
        let mut all = 0;
        for (bound, n) in bounds.zip(histogram.cumulative()) {
            self.sample(&format!("{name}_bucket"), &vec![("le", bound)], n);
            all = n;
        }
        self.sample(&format!("{name}_sum"), &Vec::new(), seconds(histogram.sum));
        self.sample(&format!("{name}_count"), &Vec::new(), all);
    }
}
