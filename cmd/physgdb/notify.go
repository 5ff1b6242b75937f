package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"physgdb/bridge/notify"
	"physgdb/cmd/internal/machine"
	"physgdb/internal/plain"
)

func printNotices(c *cli.Context) error {
	if _, err := operands(c, 0, 0); err != nil {
		return err
	}
	if c.Int("count") < 0 {
		return usagef("notify: --count %d: want the number of notices to wait for, or 0 for no limit", c.Int("count"))
	}
	log, err := logger(c)
	if err != nil {
		return err
	}
	l, err := machine.ListenNotices(c.String("listen"), log)
	if err != nil {
		return err
	}
	defer l.Close()
	fmt.Fprintf(c.App.ErrWriter, "physgdb: listening for notices on udp://%v\n", l.Addr())
	for n := 0; c.Int("count") == 0 || n < c.Int("count"); n++ {
		notice, from, err := l.Next(c.Context)
		if err != nil {
			if errors.Is(err, c.Context.Err()) {
				return nil // the user ended it
			}
			return err
		}
		line := struct {
			*notify.Notice
			From string `json:"from"`
		}{notice, from.String()}
		if err := plain.WriteJSON(c.App.Writer, line); err != nil {
			return err
		}
	}
	return nil
}
