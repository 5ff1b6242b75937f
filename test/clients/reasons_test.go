package clients

// reasons are why a client cannot do an action: what the client lacks, in a sentence. A cell without one must pass; one
// that has one must not.
var reasons = map[client]map[string]string{}
