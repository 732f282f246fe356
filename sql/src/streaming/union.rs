//! UNION: the rows of several queries.

use std::rc::Rc;

use datafusion::logical_expr::Union;

use super::codec::Codec;
use super::explain::Kept;
use super::narrow::Narrow;
use super::render::{Rendered, Renderer, Result, schema};
use super::tables::Columnar;

impl<'s> Renderer<'_, 's> {
    pub(super) fn union(&self, union: &Union) -> Result<Rendered<'s>> {
        self.keeps("union", Kept::NOTHING);
        let output = union.schema.inner();
        let codec = Rc::new(Codec::new(output)?);
        let (mut streams, mut views) = (Vec::new(), Vec::new());
        for input in &union.inputs {
            match self.render(input)? {
                Rendered::Growing(source, narrow) => streams.push(self.rows(&source, narrow.named(output), &codec)),
                // Columns of the queries have the same types, and so the same bytes.
                changing => match self.stepped(changing, Narrow::default().named(output), &schema(input), output)? {
                    Rendered::Changing(view, back) => views.push((view, back)),
                    Rendered::Growing(..) => unreachable!("a view stays a view"),
                },
            }
        }
        let stream = streams.into_iter().reduce(|a, b| a.union(&b));
        if views.is_empty() {
            let stream = stream.expect("a union has inputs");
            return Ok(Rendered::Growing(Rc::new(Columnar::encoded(stream, codec)), Narrow::default()));
        }
        if stream.is_some() {
            self.keeps("accumulate", Kept::of("the rows of the streams", "every row"));
        }
        let rows = stream.map(|stream| (stream.accumulate(), None));
        let all = rows.into_iter().chain(views).reduce(|(a, x), (b, y)| (a.union(&b), x.or(y)));
        let (view, back) = all.expect("a union has inputs");
        Ok(Rendered::Changing(view, back))
    }
}
