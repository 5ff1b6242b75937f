package main

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// options are the options on the kernel command line.
type options struct {
	port    string
	panic   string
	other   string
	threads int
	modules int
	host    string
	check   string

	instrument []string
}

func readOptions() (*options, error) {
	text, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	o := &options{panic: "sysrq", other: "idle", host: "guest"}
	for word := range strings.FieldsSeq(string(text)) {
		key, value, _ := strings.Cut(word, "=")
		if err := o.set(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", word, err)
		}
	}
	if o.port == "" {
		return nil, fmt.Errorf("no physgdb.port= on the kernel command line %q", text)
	}
	return o, o.validate()
}

// set parses one word of the command line and ignores the kernel's.
func (o *options) set(key, value string) (err error) {
	switch key {
	case "physgdb.port":
		o.port = value
	case "physgdb.panic":
		o.panic = value
	case "physgdb.other":
		o.other = value
	case "physgdb.threads":
		o.threads, err = strconv.Atoi(value)
	case "physgdb.modules":
		o.modules, err = strconv.Atoi(value)
	case "physgdb.instrument":
		o.instrument = strings.FieldsFunc(value, func(r rune) bool { return r == ',' })
	case "physgdb.check":
		o.check = value
	case "physgdb.host":
		o.host, err = url.PathUnescape(value)
	}
	return err
}

// validate rejects unknown values and combinations that do not work.
func (o *options) validate() error {
	known := ways()
	if _, ok := known[o.panic]; !ok && o.panic != "none" {
		return fmt.Errorf("physgdb.panic=%s: known are %s and none", o.panic,
			strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	}
	if err := o.validateInstruments(); err != nil {
		return err
	}
	if o.other != "idle" && o.other != "user" {
		return fmt.Errorf("physgdb.other=%s: known are idle and user", o.other)
	}
	if o.panic == "chain" && o.modules == 0 {
		return errors.New("physgdb.panic=chain needs physgdb.modules=N")
	}
	if o.panic == "nmi" && (o.other != "idle" || runtime.NumCPU() < 2) {
		return errors.New("physgdb.panic=nmi needs a second CPU")
	}
	return nil
}
