//! Text tables with aligned columns; numbers are right-aligned.

/// Rows of cells under their heads.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these heads. A head that begins with `>` is right-aligned, for numbers.
    pub fn new(heads: &[&str]) -> Self {
        Table { rows: vec![heads.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row with one cell for each head.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The lines.
    pub fn text(&self) -> String {
        let right: Vec<bool> = self.rows[0].iter().map(|h| h.starts_with('>')).collect();
        let shown = |cell: &String| cell.strip_prefix('>').unwrap_or(cell).to_owned();
        let widest = |i: usize| self.rows.iter().map(|r| shown(&r[i]).chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..right.len()).map(widest).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().enumerate().map(|(i, cell)| match right[i] {
                true => format!("{:>1$}", shown(cell), widths[i]),
                false => format!("{:<1$}", shown(cell), widths[i]),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        self.rows.iter().map(line).collect()
    }
}

/// A size in readable units.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut size = bytes as f64;
    let mut unit = None;
    for u in UNITS {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = Some(u);
    }
    unit.map_or(format!("{bytes} B"), |u| format!("{size:.1} {u}"))
}

/// An age in the largest suitable unit.
pub fn age(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..120 => format!("{s} s"),
        120..7_200 => format!("{} min", s / 60),
        7_200..172_800 => format!("{} h", s / 3_600),
        _ => format!("{} days", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["what", ">bytes"]);
        table.row(["a".into(), "7".into()]);
        table.row(["longer".into(), "1024".into()]);
        assert_eq!(table.text(), "what    bytes\na           7\nlonger   1024\n");
    }

    #[test]
    fn sizes_and_ages() {
        assert_eq!([0, 1_023, 1_024, 30 << 20, 5 << 40].map(size), ["0 B", "1023 B", "1.0 KiB", "30.0 MiB", "5.0 TiB"]);
        assert_eq!([0, 119_999, 120_000, 7_200_000, 172_800_000].map(age), ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
