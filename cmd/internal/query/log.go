package host

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"physgdb/symbols/linux/klog"

	"physgdb/internal/plain"
)

func dmesgCommand() Command {
	return Command{
		Name: "dmesg", Aliases: []string{"lx-dmesg"},
		Help: "print the kernel's log",
		About: `LEVELS are those of dmesg(1): emerg, alert, crit, err, warn, notice, info, debug, or 0 to 7, several with
commas; err+ means err and worse. Characters that are not printable are written as \x1b or \u202e.

Examples:
  physgdb dmesg file:/tmp/ram -n 50
  physgdb dmesg file:/tmp/ram -T -l warn+`,
		Options: []Option{
			{Name: "T", Usage: "times of the clock on the wall, by the machine's own, in UTC"},
			{Name: "l", Value: "LEVELS", Usage: "messages of these levels alone"},
			{Name: "n", Value: "N", Usage: "the newest N messages alone"},
			jsonOption("seq, ns (since boot), level, facility, caller, text; with -T also time"),
		},
		prepare: prepareDmesg,
	}
}

// dmesgOptions say what to print of the log, and how.
type dmesgOptions struct {
	wall   bool
	levels uint8 // bit n: messages of level n
	newest int   // 0 for all
	json   bool
}

const allLevels = 0xff

func prepareDmesg(r *request) (Answer, error) {
	o := dmesgOptions{wall: r.on("T"), levels: allLevels, json: r.on("json")}
	var err error
	if o.newest, err = r.number("n"); err != nil {
		return nil, err
	}
	if text, given := r.options["l"]; given {
		if o.levels, err = parseLevels(text); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, m *Machine, w io.Writer) error { return m.writeDmesg(ctx, w, &o) }, nil
}

// levelNames are the levels of messages in their order, as dmesg(1) names them.
var levelNames = []string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"}

// parseLevels reads a list of levels. With + behind it a level stands for all that are worse, too; with + before it, for
// all that are less so.
func parseLevels(text string) (set uint8, err error) {
	for word := range strings.SplitSeq(text, ",") {
		name, worse := strings.CutSuffix(word, "+")
		name, lesser := strings.CutPrefix(name, "+")
		level := slices.Index(levelNames, name)
		if n, err := strconv.Atoi(name); err == nil {
			level = n
		}
		if level < 0 || level >= len(levelNames) {
			return 0, fmt.Errorf("-l %s: want levels such as err,warn or 3,4; they are %s", text, strings.Join(levelNames, " "))
		}
		for i := range levelNames {
			if i == level || worse && i < level || lesser && i > level {
				set |= 1 << i
			}
		}
	}
	return set, nil
}

// logLine is a message as JSON shows it.
type logLine struct {
	Seq       uint64    `json:"seq"`
	Since     int64     `json:"ns"` // since boot
	Time      time.Time `json:"time,omitzero"`
	Level     string    `json:"level"`
	Facility  uint8     `json:"facility"`
	Caller    string    `json:"caller"`
	Text      string    `json:"text"`
	Subsystem string    `json:"subsystem,omitempty"`
	Device    string    `json:"device,omitempty"`
}

func (m *Machine) writeDmesg(ctx context.Context, w io.Writer, o *dmesgOptions) error {
	if err := m.needSymbols("dmesg"); err != nil {
		return err
	}
	records, damage, err := m.messages(ctx, o)
	if err != nil {
		return fmt.Errorf("dmesg: %w", err)
	}
	var format klog.Format
	if o.wall {
		if format.Boot, err = m.Kernel.BootTime(ctx); err != nil {
			return fmt.Errorf("dmesg -T: %w; without -T times are those since boot", err)
		}
		format.Boot = format.Boot.UTC()
	}
	out := bufio.NewWriter(w)
	for i := range records {
		if o.json {
			err = plain.WriteJSON(out, newLogLine(&records[i], format.Boot))
		} else {
			_, err = out.WriteString(format.Format(&records[i]))
		}
		if err != nil {
			return err
		}
	}
	return cmp.Or(out.Flush(), listDamage("dmesg", damage))
}

// messages returns the messages that were asked for, the oldest first.
func (m *Machine) messages(ctx context.Context, o *dmesgOptions) ([]klog.Record, []error, error) {
	newest := o.newest
	if o.levels != allLevels {
		newest = 0 // nobody knows how far back the last ones of a level are
	}
	log, err := klog.Read(ctx, m.Kernel, newest)
	if err != nil {
		return nil, nil, err
	}
	records := slices.DeleteFunc(log.Records, func(r klog.Record) bool { return o.levels>>r.Level&1 == 0 })
	if o.newest > 0 {
		records = records[max(0, len(records)-o.newest):]
	}
	return records, log.Damage, nil
}

func newLogLine(r *klog.Record, boot time.Time) *logLine {
	l := &logLine{
		Seq: r.Seq, Since: int64(r.Time), Level: strconv.Itoa(int(r.Level)), Facility: r.Facility, Caller: r.Caller.String(),
		Text: r.Text, Subsystem: r.Subsystem, Device: r.Device,
	}
	if int(r.Level) < len(levelNames) {
		l.Level = levelNames[r.Level]
	}
	if !boot.IsZero() {
		l.Time = boot.Add(r.Time)
	}
	return l
}
