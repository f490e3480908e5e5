"""The API's OpenAPI document, made from the code that answers it: routes, readers, views, errors and samples."""
