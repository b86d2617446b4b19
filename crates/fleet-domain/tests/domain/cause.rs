use std::error::Error;
use std::fmt;

use fleet_domain::error_chain;

#[derive(Debug)]
struct Failure(&'static str, Option<Box<Failure>>);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.1.as_deref().map(|cause| cause as &(dyn Error + 'static))
    }
}

#[test]
fn an_error_is_told_with_all_its_causes_and_each_of_them_once() {
    let caused = |words, cause| Failure(words, Some(Box::new(cause)));
    let disk = || Failure("no space left", None);
    assert_eq!(error_chain(&disk()), "no space left");
    let error = caused("saving failed", caused("file a", disk()));
    assert_eq!(error_chain(&error), "saving failed: file a: no space left");
    let repeated = caused("saving failed: no space left", disk());
    assert_eq!(error_chain(&repeated), "saving failed: no space left");
}
