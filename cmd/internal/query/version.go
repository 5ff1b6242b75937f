package query

import (
	"runtime"
	"runtime/debug"
)

// Version identifies a build of physgdb.
type Version struct {
	Version string `json:"version"` // of the module, or the commit
	Go      string `json:"go"`      // the version of the compiler
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// ReadVersion returns the version of this program, as the go command recorded it.
func ReadVersion() *Version {
	v := &Version{"unknown", runtime.Version(), runtime.GOOS, runtime.GOARCH}
	if build, ok := debug.ReadBuildInfo(); ok {
		v.Version, v.Go = build.Main.Version, build.GoVersion
	}
	return v
}

// Listening says that a server is ready.
type Listening struct {
	Address string `json:"address"` // where clients connect
}
