package check

import (
	"slices"

	"github.com/sleightproxy/sleight/pkg/origin"
)

// Report has the results of the checks of many routes.
type Report struct {
	Summary Summary   `json:"summary"`
	Routes  []*Result `json:"routes"` // the most urgent result first
}

// Summary counts routes. Disabled and expired routes are counted separately.
type Summary struct {
	Routes       int `json:"routes"`
	OK           int `json:"ok"`
	Warn         int `json:"warn"`
	Fail         int `json:"fail"`
	Inactive     int `json:"inactive"`
	InactiveFail int `json:"inactive_fail"`
}

// NewReport sorts and counts results.
func NewReport(results []*Result) *Report {
	r := &Report{Routes: slices.Clone(results)}
	if r.Routes == nil {
		r.Routes = []*Result{}
	}
	slices.SortStableFunc(r.Routes, byUrgency)
	s := &r.Summary
	for _, one := range r.Routes {
		s.Routes++
		switch {
		case !one.InForce():
			s.Inactive++
			if one.Status == Fail {
				s.InactiveFail++
			}
		case one.Status == Fail:
			s.Fail++
		case one.Status == Warn:
			s.Warn++
		default:
			s.OK++
		}
	}
	return r
}

// Invalid returns the result for an item that is not a valid route.
func Invalid(host string, err error) *Result {
	r := &Result{Host: host, Route: host, State: origin.Invalid, CheckedAt: now(), Origins: []Origin{}}
	r.add(invalidRoute(err))
	r.conclude()
	return r
}
