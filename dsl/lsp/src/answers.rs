//! The answer to each request about one file.

use ls_types::*;
use mlp_dsl::analysis::{self, Entry, EntryKind, Place, SymbolKind, View};

use crate::actions::changes;
use crate::capabilities::Client;
use crate::file::{File, uri_of};
use crate::states::Known;

pub fn hover(client: &Client, view: &View<'_>, position: Position) -> Option<Hover> {
    let at = client.encoding.offset(view.document, position);
    let hover = analysis::hover(view, at)?;
    let contents = HoverContents::Markup(MarkupContent { kind: MarkupKind::Markdown, value: hover.markdown });
    Some(Hover { contents, range: Some(client.encoding.range(view.document, hover.range)) })
}

pub fn definition(client: &Client, file: &File, view: &View<'_>, position: Position) -> Option<GotoDefinitionResponse> {
    let at = client.encoding.offset(view.document, position);
    let place = analysis::definition(view, at)?;
    Some(GotoDefinitionResponse::Scalar(location(client, file, view, place)?))
}

fn location(client: &Client, file: &File, view: &View<'_>, place: Place) -> Option<Location> {
    let Some(module) = place.file.checked_sub(1) else {
        let range = client.encoding.range(view.document, place.range);
        return Some(Location { uri: file.uri.clone(), range });
    };
    let (_, path, document) = file.modules.get(module)?;
    Some(Location { uri: uri_of(path)?, range: client.encoding.range(document, place.range) })
}

pub fn references(client: &Client, file: &File, view: &View<'_>, params: &ReferenceParams) -> Vec<Location> {
    let at = client.encoding.offset(view.document, params.text_document_position.position);
    let places = analysis::references(view, at, params.context.include_declaration);
    places.into_iter().filter_map(|place| location(client, file, view, place)).collect()
}

pub fn highlights(client: &Client, view: &View<'_>, position: Position) -> Vec<DocumentHighlight> {
    let at = client.encoding.offset(view.document, position);
    let places = analysis::references(view, at, true);
    let range = |place: Place| client.encoding.range(view.document, place.range);
    places.into_iter().map(|place| DocumentHighlight { range: range(place), kind: None }).collect()
}

pub fn prepare_rename(client: &Client, view: &View<'_>, position: Position) -> Result<PrepareRenameResponse, String> {
    let at = client.encoding.offset(view.document, position);
    let word = analysis::renameable(view, at).map_err(|e| e.to_string())?;
    let range = client.encoding.range(view.document, word.range());
    Ok(PrepareRenameResponse::RangeWithPlaceholder { range, placeholder: word.text.to_owned() })
}

pub fn rename(
    client: &Client,
    file: &File,
    view: &View<'_>,
    position: Position,
    new: &str,
) -> Result<WorkspaceEdit, String> {
    let at = client.encoding.offset(view.document, position);
    let edits = analysis::rename(view, at, new).map_err(|e| e.to_string())?;
    let edits = edits.into_iter().map(|(range, new_text)| {
        let range = client.encoding.range(view.document, range);
        TextEdit { range, new_text }
    });
    Ok(changes(file.uri.clone(), edits.collect()))
}

pub fn signature(client: &Client, view: &View<'_>, position: Position) -> Option<SignatureHelp> {
    let at = client.encoding.offset(view.document, position);
    let help = analysis::call_help(view, at)?;
    // Labels are places in the head; it is counted in UTF-16, whatever was agreed on for texts.
    let place = |at: usize| crate::Encoding::Utf16.length(help.head.get(..at).unwrap_or_default());
    let parameters = help.arguments.iter().map(|(range, doc)| ParameterInformation {
        label: ParameterLabel::LabelOffsets([place(range.start), place(range.end)]),
        documentation: (!doc.is_empty()).then(|| Documentation::String(doc.clone())),
    });
    let active = help.active.and_then(|active| u32::try_from(active).ok());
    let information = SignatureInformation {
        label: help.head.clone(),
        documentation: Some(Documentation::MarkupContent(MarkupContent {
            kind: MarkupKind::Markdown,
            value: help.doc.clone(),
        })),
        parameters: Some(parameters.collect()),
        active_parameter: active,
    };
    Some(SignatureHelp { signatures: vec![information], active_signature: Some(0), active_parameter: active })
}

pub fn symbols(client: &Client, file: &File, view: &View<'_>) -> DocumentSymbolResponse {
    let entries = analysis::outline(view);
    if client.nested_symbols {
        return DocumentSymbolResponse::Nested(entries.into_iter().map(|entry| nested(client, view, entry)).collect());
    }
    let mut flat = Vec::new();
    flatten(client, file, view, entries, None, &mut flat);
    DocumentSymbolResponse::Flat(flat)
}

#[expect(deprecated, reason = "the protocol's type has no constructor without the field")]
fn nested(client: &Client, view: &View<'_>, entry: Entry) -> DocumentSymbol {
    let children: Vec<_> = entry.children.into_iter().map(|child| nested(client, view, child)).collect();
    DocumentSymbol {
        name: entry.name,
        detail: (!entry.detail.is_empty()).then_some(entry.detail),
        kind: symbol_kind(entry.kind),
        tags: None,
        deprecated: None,
        range: client.encoding.range(view.document, entry.range),
        selection_range: client.encoding.range(view.document, entry.name_range),
        children: (!children.is_empty()).then_some(children),
    }
}

#[expect(deprecated, reason = "the protocol's type has no constructor without the field")]
fn flatten(
    client: &Client,
    file: &File,
    view: &View<'_>,
    entries: Vec<Entry>,
    container: Option<&str>,
    flat: &mut Vec<SymbolInformation>,
) {
    for entry in entries {
        flat.push(SymbolInformation {
            name: entry.name.clone(),
            kind: symbol_kind(entry.kind),
            tags: None,
            deprecated: None,
            location: Location { uri: file.uri.clone(), range: client.encoding.range(view.document, entry.range) },
            container_name: container.map(str::to_owned),
        });
        flatten(client, file, view, entry.children, Some(&entry.name), flat);
    }
}

fn symbol_kind(kind: EntryKind) -> ls_types::SymbolKind {
    use ls_types::SymbolKind as Shown;
    match kind {
        EntryKind::Column => Shown::FIELD,
        EntryKind::Check => Shown::BOOLEAN,
        EntryKind::Symbol(kind) => match kind {
            SymbolKind::Pipeline | SymbolKind::Module => Shown::MODULE,
            SymbolKind::Param | SymbolKind::Constant | SymbolKind::Variable => Shown::CONSTANT,
            SymbolKind::Schema => Shown::STRUCT,
            SymbolKind::Source | SymbolKind::Given => Shown::FILE,
            SymbolKind::Step | SymbolKind::Effect | SymbolKind::Artifact => Shown::VARIABLE,
            SymbolKind::Loop => Shown::ARRAY,
            SymbolKind::Test => Shown::METHOD,
            SymbolKind::Gate | SymbolKind::Release => Shown::EVENT,
            SymbolKind::Template => Shown::FUNCTION,
            SymbolKind::Other => Shown::OBJECT,
        },
    }
}

/// Returns what each step gives, behind its name, and what a run would do with it, behind all of it.
pub fn hints(client: &Client, view: &View<'_>, told: &Known, range: Range) -> Vec<InlayHint> {
    let range = client.encoding.bytes(view.document, range);
    let hint = |at: usize, text: String, doc: String, kind: Option<InlayHintKind>| InlayHint {
        position: client.encoding.position(view.document, at),
        label: InlayHintLabel::String(text),
        padding_left: kind.is_none().then_some(true),
        kind,
        text_edits: None,
        tooltip: Some(InlayHintTooltip::MarkupContent(MarkupContent { kind: MarkupKind::Markdown, value: doc })),
        padding_right: None,
        data: None,
    };
    let given = analysis::hints(view, range.clone()).into_iter();
    let given = given.map(|found| hint(found.at, found.text, found.doc, Some(InlayHintKind::TYPE)));
    let told = told.beside(view, range).into_iter();
    given.chain(told.map(|(at, text, doc)| hint(at, text, doc, None))).collect()
}

/// Returns the edits that make one text of another: the lines that differ, as one.
pub fn formatting(client: &Client, file: &File, formatted: &str) -> Vec<TextEdit> {
    let old = file.document.text();
    if old == formatted {
        return Vec::new();
    }
    let n_before = old.bytes().zip(formatted.bytes()).take_while(|(old, new)| old == new).count();
    let start = old.as_bytes()[..n_before].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (old_rest, new_rest) = (&old.as_bytes()[start..], &formatted.as_bytes()[start..]);
    let n_after = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(old, new)| old == new).count();
    let mut n_after = n_after.min(old_rest.len()).min(new_rest.len());
    while !(old.is_char_boundary(old.len() - n_after) && formatted.is_char_boundary(formatted.len() - n_after)) {
        n_after -= 1;
    }
    let range = client.encoding.range(&file.document, start..old.len() - n_after);
    let new_text = formatted.get(start..formatted.len() - n_after).unwrap_or_default().to_owned();
    vec![TextEdit { range, new_text }]
}
