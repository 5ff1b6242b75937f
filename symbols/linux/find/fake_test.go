package find

import "context"

var ctx = context.Background()
