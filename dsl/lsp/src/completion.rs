//! Completions as the protocol lists them.

use ls_types::{
    CompletionItem, CompletionItemKind, CompletionList, CompletionTextEdit, Documentation, InsertTextFormat,
    MarkupContent, MarkupKind, TextEdit,
};
use mlp_dsl::analysis::{CompletionKind, View, complete};

use crate::capabilities::Client;

pub fn completion(client: &Client, view: &View<'_>, at: usize) -> CompletionList {
    let found = complete(view, at);
    let range = client.encoding.range(view.document, found.range);
    let items = found.items.into_iter().map(|item| {
        let is_snippet = item.is_snippet && client.snippets;
        let new_text = if item.is_snippet && !is_snippet { plain(&item.insert) } else { item.insert };
        CompletionItem {
            kind: Some(kind(item.kind)),
            detail: (!item.detail.is_empty()).then_some(item.detail),
            documentation: (!item.doc.is_empty()).then(|| markdown(item.doc)),
            // What is typed is compared with the label without what does not belong to it.
            filter_text: item.label.strip_suffix(':').map(str::to_owned),
            sort_text: Some(format!("{}{}", item.rank, item.label)),
            insert_text_format: Some(if is_snippet { InsertTextFormat::SNIPPET } else { InsertTextFormat::PLAIN_TEXT }),
            text_edit: Some(CompletionTextEdit::Edit(TextEdit { range, new_text })),
            label: item.label,
            ..CompletionItem::default()
        }
    });
    CompletionList { is_incomplete: found.is_incomplete, items: items.collect() }
}

fn markdown(value: String) -> Documentation {
    Documentation::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value })
}

fn kind(kind: CompletionKind) -> CompletionItemKind {
    match kind {
        CompletionKind::Keyword => CompletionItemKind::KEYWORD,
        CompletionKind::Operation => CompletionItemKind::FUNCTION,
        CompletionKind::Constructor => CompletionItemKind::CONSTRUCTOR,
        CompletionKind::Argument => CompletionItemKind::PROPERTY,
        CompletionKind::Node | CompletionKind::Output => CompletionItemKind::VARIABLE,
        CompletionKind::Param => CompletionItemKind::CONSTANT,
        CompletionKind::Schema => CompletionItemKind::STRUCT,
        CompletionKind::Gate | CompletionKind::Release => CompletionItemKind::EVENT,
        CompletionKind::Module => CompletionItemKind::MODULE,
        CompletionKind::Column => CompletionItemKind::FIELD,
        CompletionKind::Choice => CompletionItemKind::ENUM_MEMBER,
        CompletionKind::Metric => CompletionItemKind::FIELD,
        CompletionKind::Type => CompletionItemKind::TYPE_PARAMETER,
        CompletionKind::Mark => CompletionItemKind::KEYWORD,
        CompletionKind::Value => CompletionItemKind::VALUE,
    }
}

/// Returns a snippet's text for an editor that knows none: `${1:name}` becomes `name`, `$0` nothing.
fn plain(snippet: &str) -> String {
    let mut text = String::new();
    let mut rest = snippet;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        rest = match after.strip_prefix('{') {
            Some(inside) => {
                let (place, behind) = inside.split_once('}').unwrap_or((inside, ""));
                text.push_str(place.split_once(':').map_or("", |(_, name)| name));
                behind
            }
            None => after.trim_start_matches(|c: char| c.is_ascii_digit()),
        };
    }
    text.push_str(rest);
    text
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn editors_without_snippets_get_their_text() {
        assert_eq!(plain("gate ${1:name} {\n  $0\n}"), "gate name {\n  \n}");
        assert_eq!(plain("with"), "with");
    }
}
