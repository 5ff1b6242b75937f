package debuginfo

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// FromEnvironment returns what the variables of the environment for debuginfod's clients say
// (debuginfod-client-config(7)): DEBUGINFOD_URLS, DEBUGINFOD_CACHE_PATH or else XDG_CACHE_HOME or
// HOME, and DEBUGINFOD_TIMEOUT. getenv is [os.Getenv], or like it.
func FromEnvironment(getenv func(string) string) *Places {
	return &Places{
		Servers: debuginfodServers(getenv("DEBUGINFOD_URLS")),
		Cache:   debuginfodCache(getenv),
		Timeout: debuginfodTimeout(getenv("DEBUGINFOD_TIMEOUT")),
	}
}

// debuginfodServers passes over the tags that say how signatures of files in RPMs are checked.
func debuginfodServers(urls string) []string {
	var servers []string
	for word := range strings.FieldsSeq(urls) {
		if !strings.HasPrefix(word, "ima:") {
			servers = append(servers, word)
		}
	}
	return servers
}

func debuginfodCache(getenv func(string) string) string {
	if dir := getenv("DEBUGINFOD_CACHE_PATH"); dir != "" {
		return dir
	}
	home := getenv("HOME")
	if home != "" {
		old := filepath.Join(home, ".debuginfod_client_cache")
		if info, err := os.Stat(old); err == nil && info.IsDir() {
			return old
		}
	}
	if dir := getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "debuginfod_client")
	}
	if home != "" {
		return filepath.Join(home, ".cache", "debuginfod_client")
	}
	return ""
}

// debuginfodTimeout reads whole seconds. None, or less, mean no limit; what is no number means
// nothing.
func debuginfodTimeout(text string) time.Duration {
	seconds, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0
	case seconds <= 0, seconds > int(math.MaxInt64/time.Second):
		return -1
	}
	return time.Duration(seconds) * time.Second
}
