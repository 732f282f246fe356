//! UNION: the rows of several queries.

use std::rc::Rc;

use datafusion::arrow::array::RecordBatch;
use datafusion::logical_expr::Union;

use super::batches::{self, Batches, Source};
use super::codec::Codec;
use super::explain::Kept;
use super::narrow::Narrow;
use super::render::{Rendered, Renderer, Result, schema};

impl<'s> Renderer<'_, 's> {
    pub(super) fn union(&self, union: &Union) -> Result<Rendered<'s>> {
        self.keeps("union", Kept::NOTHING);
        let output = union.schema.inner();
        let (mut streams, mut views, mut kept) = (Vec::new(), Vec::new(), false);
        for input in &union.inputs {
            match self.render(input)? {
                Rendered::Growing(source, narrow) => {
                    kept |= source.kept();
                    streams.push(self.batches(&source, narrow.named(output)));
                }
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
            let source: Rc<dyn Source<'s> + 's> = if kept { Rc::new(batches::Kept(stream)) } else { Rc::new(Batches(stream)) };
            return Ok(Rendered::Growing(source, Narrow::default()));
        }
        if stream.is_some() {
            self.keeps("accumulate", Kept::of("the rows of the streams", "every row"));
        }
        let codec = Codec::new(output)?;
        let bytes = move |batches: Vec<RecordBatch>| codec.all_encoded(&batches);
        let rows = stream.map(|stream| (stream.map_partitions(bytes).accumulate(), None));
        let all = rows.into_iter().chain(views).reduce(|(a, x), (b, y)| (a.union(&b), x.or(y)));
        let (view, back) = all.expect("a union has inputs");
        Ok(Rendered::Changing(view, back))
    }
}
