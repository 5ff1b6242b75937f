package nettlp

import (
	"testing"

	"physgdb/bridge"
	"physgdb/bridge/bridgetest"
)

// Each way of carrying TLPs, good or bad, must give what a bridge promises.
func TestClientPassesTheSuite(t *testing.T) {
	for name, tc := range map[string]struct {
		mem     func([]byte) bridge.Memory
		adapter AdapterOptions
		client  Options
	}{
		"usual":           {viewOf, AdapterOptions{}, Options{}},
		"without View":    {fakeOf, AdapterOptions{}, Options{}},
		"one tag":         {viewOf, AdapterOptions{}, Options{Tags: 1}},
		"all tags, 4 KiB": {viewOf, AdapterOptions{MPS: 4096}, Options{Tags: 256, MRRS: 4096}},
		"smallest pieces": {viewOf, AdapterOptions{MPS: 128, RCB: 128}, Options{MRRS: 128}},
		"delayed":         {viewOf, AdapterOptions{Link: Link{Delay: 15e3}}, Options{}},
		"duplicating":     {viewOf, AdapterOptions{Link: Link{Dup: 0.3, Reorder: 0.3}}, Options{}},
		"losing 1 %":      {viewOf, AdapterOptions{Link: Link{Loss: 0.01}}, Options{}},
		"losing 10 %":     {viewOf, AdapterOptions{Link: Link{Loss: 0.1, Seed: 7}}, Options{Timeout: 5e6, Retries: 99}},
		"everything at once": {viewOf, AdapterOptions{Link: Link{Loss: 0.03, Dup: 0.1, Reorder: 0.2, Delay: 5e4}},
			Options{Timeout: 5e6, Retries: 99}},
	} {
		t.Run(name, func(t *testing.T) {
			bridgetest.Run(t, func(t *testing.T, ram []byte) bridge.Memory {
				c, _ := pair(t, tc.mem(ram), tc.adapter, tc.client)
				return c
			})
		})
	}
}

func fakeOf(ram []byte) bridge.Memory { return bridgetest.NewFake(ram) }
