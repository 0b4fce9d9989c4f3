//! Which documents a policy is made of: the one that is in force, the one that it extends, and so on.

use super::section::{Invalid, Item, Section, Text};
use super::{Files, table};
use crate::policy::{Site, TrustAnchor};

/// The most documents of one policy: nobody keeps more in mind, and a circle is one of them without end.
const MAX_DOCUMENTS: usize = 8;

/// File and text of the document `text` and of every one that it extends, nearest first.
pub(super) fn documents(text: &str, file: &str, files: &mut dyn Files) -> Result<Vec<(String, String)>, Invalid> {
    let mut documents = vec![(file.to_owned(), text.to_owned())];
    while let Some((file, text)) = documents.last() {
        let text = [Text::new(file, text)];
        let [only] = &text;
        let parsed = table(only)?;
        let root = Section::root(&text, std::iter::once(&parsed))?;
        let Some(Item { value: path, site, span }) = root.string("extends")? else { break };
        if path.is_empty() {
            return Err(root.invalid(&span, "`extends` is empty: expected the path of a document"));
        }
        if documents.len() == MAX_DOCUMENTS {
            let message = format!("the policy would consist of more than {MAX_DOCUMENTS} documents");
            return Err(root.invalid(&span, message));
        }
        let next = files.document(path, &site).map_err(|why| root.invalid(&span, why))?;
        documents.push(next);
    }
    Ok(documents)
}

/// Stands in for the files of a document of which only the rest is of interest.
pub(super) struct Unread;

impl Files for Unread {
    fn document(&mut self, _: &str, _: &Site) -> Result<(String, String), String> {
        Err("it is not read again".to_owned())
    }

    fn anchors(&mut self, path: &str, site: &Site) -> Result<Vec<TrustAnchor>, String> {
        Ok(vec![TrustAnchor { file: path.to_owned(), pem: Vec::new(), site: site.clone(), side: None }])
    }

    fn file(&mut self, path: &str, _: &Site) -> Result<(String, Vec<u8>), String> {
        Ok((path.to_owned(), Vec::new()))
    }
}
