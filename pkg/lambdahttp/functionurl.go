package lambdahttp

import "github.com/sleightproxy/sleight/pkg/uri"

// functionURL is a Lambda function URL. Its events have payload format 2.0, with a path as the client encoded it.
// https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
type functionURL struct{ httpAPI }

func (f functionURL) request(e *event) (*parts, error) {
	if e.RawPath == "" {
		return f.httpAPI.request(e) // its other path is decoded too
	}
	return f.parts(e, uri.EscapePath(e.RawPath)), nil
}

func (f functionURL) prelude(a *answer) any { return f.head(a) }

func (functionURL) limits() limits { return limits{reply: maxReply, streams: true} }
