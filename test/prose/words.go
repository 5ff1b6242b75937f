package main

import (
	"regexp"
	"strings"
)

// The words and phrases that technical English does without. A space stands for any white space.
var list = pattern(
	"who", "whoever", "whom", "nobody", "somebody", "anybody", "everybody",
	"tell", "tells", "telling", "told", "shall", "beside", "behind", "stand", "stands", "stood",
	"hear", "hears", "heard", "anew", "afresh", "at hand", "as good as", "lest", "in vain", "for good",
	"(?:is|are|was|were|be) let go", "lets? go", "leads? (?:it )?to no", "leads? nowhere", "heads for", "lies? in wait", "left aside",
	"vouch(?:es)?", "mind", "minds", "thinks?", "believed?", "believes", "liars?", "strangers?", "wander(?:s|ed|ing)?", "all the same",
	"the truth", "of its own accord", "takes? (?:his|its|their|his own) word",
)

// Phrases with a listed word that are correct, each with the reason.
var exceptions = pattern(
	"never mind",            // gdb and lldb print it
	"tell ?u?[0-9]*\\(",     // ftell and the like
	"stand-?alone",          // one technical word
	"behind (?:a )?NAT",     // the field's own phrase
	"(?:fall|falls) behind", // so are these
)

func pattern(phrases ...string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)\b(?:` + strings.ReplaceAll(strings.Join(phrases, "|"), " ", `\s+`) + `)\b`)
}

// listed returns where text has listed words that no exception covers.
func listed(text string) [][]int {
	var found [][]int
	allowed := exceptions.FindAllStringIndex(text, -1)
next:
	for _, at := range list.FindAllStringIndex(text, -1) {
		for _, span := range allowed {
			if span[0] <= at[0] && at[1] <= span[1] {
				continue next
			}
		}
		found = append(found, at)
	}
	return found
}
