//! UDS.

use ::uds::{Request, Response};

use crate::useful;

pub(crate) fn response(data: &[u8]) {
    match Response::decode(data) {
        Ok(response) => {
            let bytes = response.encode();
            assert!(bytes.len() <= data.len(), "nothing is added");
            assert_eq!(Response::decode(&bytes), Ok(response));
        }
        Err(error) => useful(&error),
    }
}

pub(crate) fn request(data: &[u8]) {
    match Request::decode(data) {
        Ok(request) => {
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes), Ok(request));
        }
        Err(error) => useful(&error),
    }
}
