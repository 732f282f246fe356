//! The files of the page. They are in the program, so the page needs no network and no build step.

/// The type and the text of a file of the page.
pub(super) fn file(path: &str) -> Option<(&'static str, &'static str)> {
    Some(match path {
        "/" => ("text/html; charset=utf-8", include_str!("index.html")),
        "/page.css" => ("text/css; charset=utf-8", include_str!("page.css")),
        "/page.js" => ("text/javascript; charset=utf-8", include_str!("page.js")),
        "/charts.js" => ("text/javascript; charset=utf-8", include_str!("charts.js")),
        "/graph.js" => ("text/javascript; charset=utf-8", include_str!("graph.js")),
        "/state.js" => ("text/javascript; charset=utf-8", include_str!("state.js")),
        "/icon.svg" => ("image/svg+xml", include_str!("icon.svg")),
        "/uplot.css" => ("text/css; charset=utf-8", include_str!("uplot/uPlot.min.css")),
        "/uplot.js" => ("text/javascript; charset=utf-8", include_str!("uplot/uPlot.iife.min.js")),
        _ => return None,
    })
}
