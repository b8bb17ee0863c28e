//! What all pages have in common: their frame, and the way from one to another. Whatever is written is escaped here, or
//! was made from parts that are.

use std::fmt::Write;

use super::Target;
use crate::picture::escaped;

/// A file of the site.
pub struct Page {
    /// Relative to the site's folder, with `/`.
    pub path: String,
    pub text: String,
}

/// A page being written.
pub struct Writer {
    pub path: String,
    body: String,
}

impl Writer {
    pub fn new(path: &str) -> Self {
        Self { path: path.to_owned(), body: String::new() }
    }

    /// Adds HTML.
    pub fn html(&mut self, html: impl AsRef<str>) -> &mut Self {
        self.body.push_str(html.as_ref());
        self.body.push('\n');
        self
    }

    /// Adds a text in an element.
    pub fn text(&mut self, tag: &str, text: &str) -> &mut Self {
        self.html(format!("<{tag}>{}</{tag}>", escaped(text)))
    }

    /// Adds a heading that can be linked to.
    pub fn heading(&mut self, level: usize, id: &str, html: &str) -> &mut Self {
        self.html(format!("<h{level} id=\"{}\">{html}</h{level}>", escaped(id)))
    }

    /// Adds a table; cells are HTML. Columns in which nothing stands are left out.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> &mut Self {
        if rows.is_empty() {
            return self;
        }
        let is_used = |at: &usize| rows.iter().any(|row| row.get(*at).is_some_and(|cell| !cell.is_empty()));
        let used: Vec<usize> = (0..head.len()).filter(is_used).collect();
        let mut html = String::from("<div class=\"table\"><table>\n<thead><tr>");
        used.iter().for_each(|at| _ = write!(html, "<th>{}</th>", escaped(head[*at])));
        html.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            html.push_str("<tr>");
            used.iter().for_each(|at| _ = write!(html, "<td>{}</td>", row.get(*at).map_or("", String::as_str)));
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>");
        self.html(html)
    }

    /// Returns a link from this page.
    pub fn link(&self, target: &Target, html: &str) -> String {
        format!("<a href=\"{}\">{html}</a>", escaped(&self.address(target)))
    }

    /// Returns the address of a target as this page writes it.
    pub fn address(&self, target: &Target) -> String {
        let anchor = if target.anchor.is_empty() { String::new() } else { format!("#{}", encoded(&target.anchor)) };
        if target.page == self.path && !anchor.is_empty() {
            return anchor;
        }
        format!("{}{}{anchor}", self.up(), encoded(&target.page))
    }

    fn up(&self) -> String {
        "../".repeat(self.path.matches('/').count())
    }

    pub fn finish(self, title: &str) -> Page {
        let (up, title) = (self.up(), escaped(title));
        let text = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta name=\"color-scheme\" content=\"light dark\"/>\n<title>{title}</title>\n\
             <link rel=\"stylesheet\" href=\"{up}style.css\"/>\n</head>\n<body>\n\
             <header><a href=\"{up}index.html\">All pages</a></header>\n<main>\n{}</main>\n\
             <footer>Made by mlp {}</footer>\n</body>\n</html>\n",
            self.body,
            env!("CARGO_PKG_VERSION")
        );
        Page { path: self.path, text }
    }
}

/// Returns text as code.
pub fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("<code>{}</code>", escaped(text)) }
}

/// Returns several lines of code.
pub fn block(text: &str) -> String {
    format!("<pre><code>{}</code></pre>", escaped(text))
}

/// Writes a path for an address: what is no letter, digit or one of a few signs becomes `%XX`.
fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            byte => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_relative_and_encoded() {
        let writer = Writer::new("files/a/b.mlp.html");
        let address = |page: &str, anchor: &str| writer.address(&Target { page: page.into(), anchor: anchor.into() });
        assert_eq!(address("operations/sql.html", ""), "../../operations/sql.html");
        assert_eq!(address("files/a/b.mlp.html", "raw"), "#raw");
        assert_eq!(address("files/ü #1.html", "x"), "../../files/%C3%BC%20%231.html#x");
    }

    #[test]
    fn columns_without_content_are_left_out() {
        let mut writer = Writer::new("a.html");
        writer.table(&["name", "rules"], &[vec!["a".into(), String::new()], vec!["b".into()]]);
        assert!(!writer.body.contains("rules") && writer.body.contains("<td>b</td>"), "{}", writer.body);
    }
}
