package query

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"physgdb/cmd/internal/machine"
	"physgdb/symbols/linux/klog"
)

// LogOptions select messages of the kernel's log.
type LogOptions struct {
	WallClock bool  // Message.Time is set
	Levels    uint8 // bit n: messages of level n
	Newest    int   // how many messages at most; 0 for all
}

// AllLevels selects messages of all levels.
const AllLevels = 0xff

// levelNames are the levels of messages in their order, as dmesg(1) names them.
var levelNames = []string{"emerg", "alert", "crit", "err", "warn", "notice", "info", "debug"}

// ParseLevels reads a list of levels as dmesg(1) does. A level followed by + includes all higher
// ones, a level after + all lower ones.
func ParseLevels(text string) (set uint8, err error) {
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

// Message is a message of the kernel's log.
type Message struct {
	Seq       uint64    `json:"seq"`
	Since     int64     `json:"ns"`            // nanoseconds since boot
	Time      time.Time `json:"time,omitzero"` // by the machine's clock, in UTC, if it was asked for
	Level     string    `json:"level"`         // emerg, alert, crit, err, warn, notice, info or debug
	Facility  uint8     `json:"facility"`
	Caller    string    `json:"caller"`
	Text      string    `json:"text"`
	Subsystem string    `json:"subsystem,omitempty"`
	Device    string    `json:"device,omitempty"`

	Record klog.Record `json:"-"` // the same as the kernel has it
}

// Log is messages of the kernel's log, the oldest first.
type Log struct {
	Messages []Message
	Boot     time.Time // by the machine's clock, in UTC, if it was asked for
}

// ReadLog returns the messages of the kernel's log that o selects.
func ReadLog(ctx context.Context, m *machine.Machine, o *LogOptions) (*Log, error) {
	records, places, err := records(ctx, m, o)
	if err != nil {
		return nil, err
	}
	log := &Log{Messages: make([]Message, len(records))}
	if o.WallClock {
		boot, err := m.Kernel.BootTime(ctx)
		if err != nil {
			return nil, fmt.Errorf("-T: %w; without -T, times are relative to boot", err)
		}
		log.Boot = boot.UTC()
	}
	for i := range records {
		log.Messages[i] = newMessage(&records[i], log.Boot)
	}
	return log, damage(places)
}

// records returns the messages that o selects, the oldest first.
func records(ctx context.Context, m *machine.Machine, o *LogOptions) ([]klog.Record, []error, error) {
	newest := o.Newest
	if o.Levels != AllLevels {
		newest = 0 // the place of the last ones of a level is not known
	}
	log, err := klog.Read(ctx, m.Kernel, newest)
	if err != nil {
		return nil, nil, err
	}
	records := slices.DeleteFunc(log.Records, func(r klog.Record) bool { return o.Levels>>r.Level&1 == 0 })
	if o.Newest > 0 {
		records = records[max(0, len(records)-o.Newest):]
	}
	return records, log.Damage, nil
}

func newMessage(r *klog.Record, boot time.Time) Message {
	l := Message{
		Seq: r.Seq, Since: int64(r.Time), Level: strconv.Itoa(int(r.Level)), Facility: r.Facility, Caller: r.Caller.String(),
		Text: r.Text, Subsystem: r.Subsystem, Device: r.Device, Record: *r,
	}
	if int(r.Level) < len(levelNames) {
		l.Level = levelNames[r.Level]
	}
	if !boot.IsZero() {
		l.Time = boot.Add(r.Time)
	}
	return l
}
