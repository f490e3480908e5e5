"""HTTP: what the API's handlers share. Requests are read here, answers and problem documents are made here."""
