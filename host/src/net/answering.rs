//! Whoever knows what a server wants to be told before it lets anybody read.

use std::pin::Pin;

use http::HeaderMap;

use super::{Client, Request};
use crate::error::Result;

/// A future that may be anybody's.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// Answers the challenges of SOURCE's own server in the place of a component, which sees neither them nor the credentials.
pub trait Answering: Send + Sync {
    /// Puts what the server wants into a request to it.
    ///
    /// # Errors
    /// What keeps it from being had.
    fn authorize<'a>(&'a self, client: &'a Client, request: &'a mut Request) -> Answer<'a, ()>;

    /// The header fields of a 401. Whether it is worth to ask again.
    ///
    /// # Errors
    /// What keeps the answer from being had.
    fn challenged<'a>(&'a self, client: &'a Client, headers: &'a HeaderMap) -> Answer<'a, bool>;

    /// What a user can do where that was not enough.
    fn advice(&self) -> String;
}
