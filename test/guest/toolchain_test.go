package guest

import "testing"

// madison is the output of apt-cache madison for a package in several suites.
const madison = `linux-headers-7.3-cloud-amd64 | 7.3~rc7-1~exp1 | http://deb.example.org/debian experimental/main amd64 Packages
linux-headers-7.3-cloud-amd64 | 7.3.4-1 | http://deb.example.org/debian sid/main amd64 Packages
linux-headers-7.3-cloud-amd64 | 7.3.4-1~bpo13+1 | http://deb.example.org/debian trixie-backports/main amd64 Packages
linux-headers-7.3-cloud-amd64 | 5.10.262-1 | http://deb.example.org/debian-security bullseye-security/main amd64 Packages
linux-headers-7.3-cloud-amd64 | 6.1.1-1
`

func TestSuiteOfAddition(t *testing.T) {
	for version, want := range map[string]string{
		"7.3.4-1":         "sid",
		"7.3~rc7-1~exp1":  "sid",
		"7.3.4-1~bpo13+1": "trixie",
		"5.10.262-1":      "bullseye",
		"6.1.1-1":         "",
		"7.3":             "",
	} {
		if got := suiteOf(madison, version); got != want {
			t.Errorf("%s: got suite %q, want %q", version, got, want)
		}
	}
}
