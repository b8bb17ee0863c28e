//! Doc comments as HTML. They are Markdown; HTML in them is text, and nothing in them loads anything from elsewhere.

use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd, html};

use crate::picture::escaped;

/// Writes a text as HTML. `find` gives the address of what a piece of code names.
pub fn to_html(text: &str, find: &dyn Fn(&str) -> Option<String>) -> String {
    // How many links are open that were left out, and whether one is open that stands.
    let mut links: Vec<bool> = Vec::new();
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).flat_map(|event| match event {
        Event::Start(Tag::HtmlBlock) => vec![Event::Start(Tag::Paragraph)],
        Event::End(TagEnd::HtmlBlock) => vec![Event::End(TagEnd::Paragraph)],
        Event::Code(code) => {
            let address = if links.contains(&true) { None } else { find(&code) };
            let html = match address {
                Some(address) => format!("<a href=\"{}\"><code>{}</code></a>", escaped(&address), escaped(&code)),
                None => format!("<code>{}</code>", escaped(&code)),
            };
            vec![Event::InlineHtml(CowStr::from(html))]
        }
        Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => {
            vec![Event::InlineHtml(CowStr::from(escaped(&text)))]
        }
        Event::Start(Tag::Heading { level, .. }) => vec![heading(level as usize, false)],
        Event::End(TagEnd::Heading(level)) => vec![heading(level as usize, true)],
        Event::Start(Tag::CodeBlock(_)) => vec![Event::Start(Tag::CodeBlock(CodeBlockKind::Indented))],
        Event::Start(Tag::Link { dest_url, title, link_type, id }) => {
            let leads_out = leads_out(&dest_url);
            links.push(leads_out);
            if leads_out { vec![Event::Start(Tag::Link { dest_url, title, link_type, id })] } else { Vec::new() }
        }
        Event::End(TagEnd::Link) => match links.pop() {
            Some(true) => vec![Event::End(TagEnd::Link)],
            _ => Vec::new(),
        },
        // Of a picture remains what it says it shows.
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => Vec::new(),
        event => vec![event],
    });
    let mut written = String::new();
    html::push_html(&mut written, events);
    written
}

/// Writes a text of one line as HTML, without a paragraph around it.
pub fn inline(text: &str) -> String {
    let html = to_html(text, &|_| None);
    html.trim().trim_start_matches("<p>").trim_end_matches("</p>").to_owned()
}

/// Headings of a comment stand below those of the page.
fn heading(level: usize, is_end: bool) -> Event<'static> {
    let slash = if is_end { "/" } else { "" };
    Event::InlineHtml(CowStr::from(format!("<{slash}h{}>", (level + 3).min(6))))
}

/// Returns whether an address leads out of the pages, to a place a browser opens without harm. Others, such as files
/// beside the pipeline, are not there where the pages are.
fn leads_out(address: &str) -> bool {
    let lower = address.to_ascii_lowercase();
    ["https://", "http://", "mailto:"].iter().any(|scheme| lower.starts_with(scheme))
}

/// Returns the first sentence, for lists.
pub fn first_sentence(text: &str) -> String {
    let paragraph = text.trim().split("\n\n").next().unwrap_or_default();
    let line = paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    match line.find(". ") {
        Some(end) => line[..=end].to_owned(),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(text: &str) -> String {
        to_html(text, &|name| (name == "sql").then(|| "sql.html".to_owned()))
    }

    #[test]
    fn markdown_is_read_and_html_is_text() {
        assert_eq!(html("One *two* `x`."), "<p>One <em>two</em> <code>x</code>.</p>\n");
        assert_eq!(html("a <b onclick='x'>&amp; c"), "<p>a &lt;b onclick=&#39;x&#39;&gt;&amp; c</p>\n");
        let block = html("<script>\nalert(1)\n</script>\n");
        assert!(!block.contains("<script") && block.contains("&lt;script&gt;"), "{block}");
        assert!(html("    a <b>\n").contains("<pre><code>a &lt;b&gt;"));
        assert!(html("```x\" onload=\"y\n<i>\n```").starts_with("<pre><code>&lt;i&gt;"));
        assert_eq!(html("# A & b"), "<h4>A &amp; b</h4>");
    }

    #[test]
    fn links_lead_out_or_to_what_is_named() {
        assert!(html("[a](https://example.org/?a=1&b)").contains("href=\"https://example.org/?a=1&amp;b\""));
        for address in ["javascript:alert(1)", "JAVASCRIPT:x", "../a.md", "data:text/html,x", "//example.org"] {
            assert_eq!(html(&format!("[a *b*]({address})")), "<p>a <em>b</em></p>\n", "{address}");
        }
        assert_eq!(html("![shown](https://example.org/x.png)"), "<p>shown</p>\n");
        assert_eq!(html("see `sql`"), "<p>see <a href=\"sql.html\"><code>sql</code></a></p>\n");
        assert!(!html("[`sql`](https://example.org)").contains("sql.html"), "no link within a link");
    }

    #[test]
    fn the_first_sentence_stands_alone() {
        assert_eq!(first_sentence("\nReads a file\nof rows. Then more.\n\nAnd more."), "Reads a file of rows.");
        assert_eq!(first_sentence("All of it"), "All of it");
    }
}
