//! Challenges of a 401 (RFC 9110 §11.6.1): `WWW-Authenticate: Bearer realm="…",service="…"`. Pure.

/// The most challenges of one field that are read.
const MAX_CHALLENGES: usize = 16;
/// The most parameters of one challenge that are read.
const MAX_PARAMETERS: usize = 16;

/// One challenge: a scheme and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The scheme as it was written.
    scheme: String,
    /// Names in lower case, values without their quotes.
    parameters: Vec<(String, String)>,
}

/// The challenges of one field's value, as far as it is well-formed: several may stand in one field, and what separates
/// them is the same comma that separates the parameters of one. At most 16 with at most 16 parameters each.
#[must_use]
pub fn challenges(field: &str) -> Vec<Challenge> {
    let mut input = Input(field);
    let mut found: Vec<Challenge> = Vec::new();
    while found.len() < MAX_CHALLENGES {
        input.skip(&[' ', '\t', ',']);
        let Some(scheme) = input.token() else { break };
        let mut challenge = Challenge { scheme: scheme.to_owned(), parameters: Vec::new() };
        let well_formed = input.rest_of(&mut challenge);
        found.push(challenge);
        if !well_formed {
            break;
        }
    }
    found
}

impl Challenge {
    /// The scheme in lower case.
    #[must_use]
    pub fn scheme(&self) -> String {
        self.scheme.to_ascii_lowercase()
    }

    /// Whether the scheme is this one; schemes have no case.
    #[must_use]
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// A parameter's value, by its name in lower case. The first counts if a peer repeats one.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// What is left of a field.
#[derive(Clone, Copy)]
struct Input<'a>(&'a str);

impl<'a> Input<'a> {
    fn skip(&mut self, what: &[char]) {
        self.0 = self.0.trim_start_matches(what);
    }

    fn take(&mut self, expected: char) -> bool {
        match self.0.strip_prefix(expected) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// A token (RFC 9110 §5.6.2).
    fn token(&mut self) -> Option<&'a str> {
        self.span(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    }

    fn span(&mut self, fits: impl Fn(u8) -> bool) -> Option<&'a str> {
        let end = self.0.bytes().position(|byte| !fits(byte)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        (!taken.is_empty()).then_some(taken)
    }

    /// The parameters of a challenge, or its token68, up to the next challenge. Whether they were well-formed.
    fn rest_of(&mut self, challenge: &mut Challenge) -> bool {
        self.skip(&[' ', '\t']);
        if self.token68() {
            return true;
        }
        loop {
            let before = *self;
            let Some(name) = self.token() else {
                return self.0.is_empty() || self.0.starts_with(',');
            };
            self.skip(&[' ', '\t']);
            if !self.take('=') {
                // No parameter but the scheme of the next challenge, unless it follows without a comma.
                *self = before;
                return true;
            }
            self.skip(&[' ', '\t']);
            let value = if self.take('"') { self.quoted() } else { self.token().map(str::to_owned) };
            let Some(value) = value else { return false };
            if challenge.parameters.len() < MAX_PARAMETERS {
                challenge.parameters.push((name.to_ascii_lowercase(), value));
            }
            self.skip(&[' ', '\t']);
            if !self.0.is_empty() && !self.0.starts_with(',') {
                return false;
            }
            self.skip(&[' ', '\t', ',']);
        }
    }

    /// Skips a token68 (RFC 9110 §11.2), which stands alone where parameters could.
    fn token68(&mut self) -> bool {
        let before = *self;
        let taken = self.span(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
        self.0 = self.0.trim_start_matches('=');
        self.skip(&[' ', '\t']);
        if taken.is_some() && (self.0.is_empty() || self.0.starts_with(',')) {
            return true;
        }
        *self = before;
        false
    }

    /// A quoted string (RFC 9110 §5.6.4) behind its opening quote.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut chars = self.0.chars();
        loop {
            match chars.next()? {
                '"' => break,
                '\\' => value.push(chars.next()?),
                other => value.push(other),
            }
        }
        self.0 = chars.as_str();
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemes(field: &str) -> Vec<String> {
        challenges(field).into_iter().map(|challenge| challenge.scheme).collect()
    }

    #[test]
    fn a_bearer_challenge_as_registries_write_it() {
        let field = r#"Bearer realm="https://auth.example/token?x=1,2",service="r.example",scope="repository:vm:pull,push",error="invalid_token""#;
        let [challenge] = &challenges(field)[..] else { panic!() };
        assert!(challenge.is("bearer") && challenge.is("BEARER") && !challenge.is("basic"));
        assert_eq!(challenge.parameter("realm"), Some("https://auth.example/token?x=1,2"));
        assert_eq!(challenge.parameter("service"), Some("r.example"));
        assert_eq!(challenge.parameter("scope"), Some("repository:vm:pull,push"));
        assert_eq!(challenge.parameter("error"), Some("invalid_token"));
        assert_eq!(challenge.parameter("absent"), None);
    }

    #[test]
    fn several_challenges_stand_in_one_field() {
        for field in [
            r#"Basic realm="a, b", Bearer realm="c""#,
            r#"Basic realm="a",bearer Realm=c"#,
            r#" , Negotiate, Basic realm="a" , , Bearer realm = "c" ,"#,
            r#"Negotiate YWJj==, Bearer realm="c""#,
        ] {
            let found = challenges(field);
            let bearer = found.iter().find(|challenge| challenge.is("bearer")).unwrap();
            assert_eq!(bearer.parameter("realm"), Some("c"), "{field}");
            assert!(found.len() >= 2, "{field}");
        }
        assert_eq!(schemes("Negotiate, NTLM"), ["Negotiate", "NTLM"]);
        assert_eq!(schemes("Basic"), ["Basic"]);
    }

    #[test]
    fn quotes_are_undone_once() {
        let found = challenges(r#"Bearer realm="a \"b\" \\c", service=d"#);
        assert_eq!(found[0].parameter("realm"), Some(r#"a "b" \c"#));
        assert_eq!(found[0].parameter("service"), Some("d"));
        assert_eq!(challenges(r#"Bearer realm="a", realm="b""#)[0].parameter("realm"), Some("a"));
    }

    #[test]
    fn what_is_malformed_ends_it_without_harm() {
        assert_eq!(challenges(""), []);
        assert_eq!(challenges("\"x\""), []);
        for field in
            ["Bearer realm=\"a", "Bearer realm=\"a\\", "Bearer realm=", "Bearer realm=\"a\"x=\"b\"", "Bearer @"]
        {
            let found = challenges(field);
            assert_eq!(found.len(), 1, "{field}");
            assert!(found[0].is("bearer"));
        }
        assert_eq!(challenges(&"a b=c,".repeat(1000)).len(), MAX_CHALLENGES);
        let many = format!("a {}", "b=c,".repeat(1000));
        assert_eq!(challenges(&many)[0].parameters.len(), MAX_PARAMETERS);
    }

    #[test]
    fn no_input_makes_it_loop_or_fail() {
        // Every string of up to six of these characters: quotes, escapes and separators in every order.
        let alphabet = ['a', ' ', ',', '=', '"', '\\', 'é'];
        let mut texts = vec![String::new()];
        for _ in 0..6 {
            texts = texts.iter().flat_map(|text| alphabet.iter().map(move |c| format!("{text}{c}"))).collect();
            for text in &texts {
                assert!(challenges(text).len() <= MAX_CHALLENGES);
            }
        }
    }
}
