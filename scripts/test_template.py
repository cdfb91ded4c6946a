"""Asserts what template.yaml deploys for each value of its parameter Front.

scripts/sam --python scripts/test_template.py runs it; make check-sam does. The template goes
through SAM's own transform, and conditions and functions are then worked out for one set of
parameters, as CloudFormation would. Nothing here reaches AWS.
"""

import copy
import itertools
import json
import logging
import pathlib
import re
import unittest
from unittest import mock

import boto3
from samcli.yamlhelper import yaml_parse
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

TEXT = (pathlib.Path(__file__).resolve().parent.parent / "template.yaml").read_text(encoding="utf-8")

PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/sleight/0a1b",
    "AWS::StackName": "sleight",
    "AWS::URLSuffix": "amazonaws.com",
}
# Attributes that the template takes apart. Any other stays a name, such as ${ProxyFunction.Arn}.
ATTRIBUTES = {"FunctionUrl.FunctionUrl": "https://abc.lambda-url.eu-central-1.on.aws/"}
NO_VALUE = object()

CERTIFICATE = "arn:aws:acm:eu-central-1:123456789012:certificate/c"
DOMAIN = {"DomainName": "shop.example.com", "CertificateArn": CERTIFICATE}
ZONE = {**DOMAIN, "HostedZoneId": "Z0123"}
FRONTS = ("http-api", "rest", "rest-stream", "function-url")
APIS = FRONTS[:3]
PROTECTION = {"ThrottleRate": 7, "ThrottleBurst": 9, "ReservedConcurrency": 100}


class Fault(AssertionError):
    """CloudFormation would not take the template."""


class Refused(Exception):
    """CloudFormation would not take the parameters."""


class Stack:
    """What one set of parameters deploys: resources and outputs without a condition or function left."""

    def __init__(self, text, **given):
        source = yaml_parse(text)
        self.source = source
        self.parameters = self._accept(source, given)
        self.template = transform(source, self.parameters)
        self.conditions = {}
        self.resources = {}
        self.live = {name for name, r in self.template["Resources"].items() if self.made(r)}
        for name in self.live:
            resource = self.template["Resources"][name]
            wanted = resource.get("DependsOn", [])
            for other in [wanted] if isinstance(wanted, str) else wanted:
                if other not in self.live:
                    raise Fault(f"{name} depends on {other}, which is not made")
            self.resources[name] = {
                "Type": resource["Type"],
                "DependsOn": wanted,
                **self.value(resource.get("Properties", {}), name),
            }
        self.outputs = {
            name: self.value(o["Value"], f"output {name}")
            for name, o in self.template["Outputs"].items()
            if self.made(o)
        }

    def _accept(self, source, given):
        declared = source["Parameters"]
        if unknown := given.keys() - declared.keys():
            raise Refused(f"no parameter {unknown}")
        values = {name: given.get(name, p.get("Default")) for name, p in declared.items()}
        for name, p in declared.items():
            v = values[name]
            if "AllowedValues" in p and str(v) not in map(str, p["AllowedValues"]):
                raise Refused(f"{name} is not an allowed value")
            if "AllowedPattern" in p and not re.fullmatch(p["AllowedPattern"], v):
                raise Refused(f"{name} does not match")
            if not p.get("MinValue", v) <= v <= p.get("MaxValue", v):
                raise Refused(f"{name} is out of range")
        self.parameters = values
        for name, rule in source["Rules"].items():
            if self.truth(rule["RuleCondition"]):
                for a in rule["Assertions"]:
                    if not self.truth(a["Assert"]):
                        raise Refused(f"{name}: {a['AssertDescription']}")
        return values

    def made(self, resource):
        return "Condition" not in resource or self.condition(resource["Condition"])

    def condition(self, name):
        if name not in self.template["Conditions"]:
            raise Fault(f"no condition {name}")
        if name not in self.conditions:
            self.conditions[name] = self.truth(self.template["Conditions"][name])
        return self.conditions[name]

    def truth(self, c):
        ((function, args),) = c.items()
        if function == "Condition":
            return self.condition(args)
        if function == "Fn::Equals":
            left, right = (str(self.value(a, "a condition")) for a in args)
            return left == right
        if function == "Fn::Not":
            return not self.truth(args[0])
        if function in ("Fn::And", "Fn::Or"):
            if not 2 <= len(args) <= 10:
                raise Fault(f"{function} takes 2 to 10 conditions")
            return (all if function == "Fn::And" else any)(self.truth(a) for a in args)
        raise Fault(f"{function} in a condition")

    def reference(self, name, where):
        if name in self.parameters:
            return self.parameters[name]
        if name in PSEUDO:
            return PSEUDO[name]
        if name == "AWS::NoValue":
            return NO_VALUE
        if name.partition(".")[0] not in self.live:
            raise Fault(f"{where} refers to {name}, which is not made")
        return ATTRIBUTES.get(name, "${" + name + "}")

    def value(self, v, where):
        if isinstance(v, list):
            return [x for x in (self.value(x, where) for x in v) if x is not NO_VALUE]
        if not isinstance(v, dict):
            return v
        if len(v) == 1:
            ((function, args),) = v.items()
            if function == "Ref":
                return self.reference(args, where)
            if function == "Fn::GetAtt":
                return self.reference(args if isinstance(args, str) else ".".join(args), where)
            if function == "Fn::If":
                return self.value(args[1 if self.condition(args[0]) else 2], where)
            if function == "Fn::Sub":
                text, names = (args, {}) if isinstance(args, str) else args
                names = {k: self.value(x, where) for k, x in names.items()}
                return re.sub(
                    r"\$\{([^!}][^}]*)\}",
                    lambda m: str(names[m[1]] if m[1] in names else self.reference(m[1], where)),
                    text,
                )
            if function == "Fn::FindInMap":
                table, top, second = self.value(args, where)
                return self.template["Mappings"][table][top][second]
            if function == "Fn::Select":
                index, items = self.value(args, where)
                return items[int(index)]
            if function == "Fn::Split":
                delimiter, text = self.value(args, where)
                return text.split(delimiter)
            if function.startswith("Fn::"):
                raise Fault(f"{where} uses {function}, which this test does not know")
        made = {k: self.value(x, where) for k, x in v.items()}
        return {k: x for k, x in made.items() if x is not NO_VALUE}


def transform(source, parameters):
    source = copy.deepcopy(source)
    source["Resources"]["ProxyFunction"]["Properties"]["CodeUri"] = "s3://bucket/key"
    session = boto3.Session(region_name=PSEUDO["AWS::Region"])
    translator = Translator(managed_policy_map={}, sam_parser=Parser(), plugins=[], boto_session=session)
    made = translator.translate(source, parameter_values=dict(parameters))
    # SAM's own dictionaries print and compare unlike others.
    return json.loads(json.dumps(made))


T = unittest.TestCase()
T.maxDiff = None


def equal(got, want, what):
    T.assertEqual(got, want, what)


def integration(version, path, **more):
    return {
        "type": "aws_proxy",
        "httpMethod": "POST",
        "uri": f"arn:aws:apigateway:eu-central-1:lambda:path/{version}/functions/${{ProxyFunction.Arn}}/{path}",
        **more,
    }


def permission(**more):
    return {"Type": "AWS::Lambda::Permission", "DependsOn": [], "FunctionName": "${ProxyFunction}", **more}


def api_permission(source):
    return permission(
        Action="lambda:InvokeFunction",
        Principal="apigateway.amazonaws.com",
        SourceArn=f"arn:aws:execute-api:eu-central-1:123456789012:{source}",
    )


def check_access_log(settings):
    equal(settings.get("DestinationArn"), "${AccessLogs.Arn}", "access log")
    line = json.loads(settings["Format"])
    T.assertIn("$context.requestId", line.values(), "access log: API Gateway wants the request's ID")
    secret = [v for v in line.values() if re.search(r"(?i)query|header|cookie|authorizer|apikey", v)]
    equal(secret, [], "access log holds credentials")


def check_http_api(s, domain):
    api = s.resources["HttpApi"]
    equal(api["Type"], "AWS::ApiGatewayV2::Api", "HttpApi")
    equal(
        api["Body"]["paths"],
        {
            "$default": {
                "x-amazon-apigateway-any-method": {
                    "isDefaultRoute": True,
                    "responses": {},
                    "x-amazon-apigateway-integration": integration(
                        "2015-03-31", "invocations", payloadFormatVersion="2.0", timeoutInMillis=30000
                    ),
                }
            }
        },
        "routes",
    )
    equal(api["Body"]["servers"], [endpoint(domain)], "execute-api address")
    stage = s.resources["HttpApiApiGatewayDefaultStage"]
    equal((stage["ApiId"], stage["StageName"], stage["AutoDeploy"]), ("${HttpApi}", "$default", True), "stage")
    equal(stage.get("DefaultRouteSettings"), throttling(s), "throttling")
    check_access_log(stage["AccessLogSettings"])
    equal(s.resources["ProxyFunctionAnyRequestPermission"], api_permission("${HttpApi}/*/*"), "permission")


def throttling(s):
    return {"ThrottlingRateLimit": s.parameters["ThrottleRate"], "ThrottlingBurstLimit": s.parameters["ThrottleBurst"]}


def endpoint(domain):
    return {"x-amazon-apigateway-endpoint-configuration": {"disableExecuteApiEndpoint": domain}}


def check_rest(s, stream, domain):
    api = s.resources["RestApi"]
    equal(api["Type"], "AWS::ApiGateway::RestApi", "RestApi")
    equal(api["EndpointConfiguration"], {"Types": ["REGIONAL"]}, "endpoint")
    equal(api.get("BinaryMediaTypes"), ["*/*"], "binary media types")
    equal(api["Body"].get("x-amazon-apigateway-binary-media-types"), ["*/*"], "binary media types in the body")
    equal(api["Body"]["servers"], [endpoint(domain)], "execute-api address")
    if stream:
        want = integration(
            "2021-11-15", "response-streaming-invocations", responseTransferMode="STREAM", timeoutInMillis=900000
        )
    else:
        want = integration("2015-03-31", "invocations", responseTransferMode="BUFFERED", timeoutInMillis=29000)
    paths = api["Body"]["paths"]
    equal(sorted(paths), ["/", "/{proxy+}"], "routes")
    for path, methods in paths.items():
        equal(list(methods), ["x-amazon-apigateway-any-method"], f"methods of {path}")
        method = methods["x-amazon-apigateway-any-method"]
        equal(method["x-amazon-apigateway-integration"], want, f"integration of {path}")
        T.assertNotIn("security", method, f"{path} is public")
    (deployment,) = (n for n, r in s.resources.items() if r["Type"] == "AWS::ApiGateway::Deployment")
    equal(s.resources[deployment]["RestApiId"], "${RestApi}", "deployment")
    T.assertNotIn("StageName", s.resources[deployment], "a deployment with a stage makes a second one")
    stage = s.resources["RestApiliveStage"]
    equal(
        (stage["RestApiId"], stage["DeploymentId"], stage["StageName"]),
        ("${RestApi}", "${" + deployment + "}", "live"),
        "stage",
    )
    equal(stage.get("MethodSettings"), [{"HttpMethod": "*", "ResourcePath": "/*", **throttling(s)}], "throttling")
    if s.parameters["RestAccessLog"] == "true":
        check_access_log(stage["AccessLogSetting"])
    else:
        T.assertNotIn("AccessLogSetting", stage)
    equal(s.resources["RestApiPermission"], api_permission("${RestApi}/live/*"), "permission")


def check_function_url(s):
    url = s.resources["FunctionUrl"]
    permissions = ["FunctionUrlInvokePermission", "FunctionUrlPermission"]
    equal(sorted(url.pop("DependsOn")), permissions, "the permissions come first")
    equal(
        url,
        {
            "Type": "AWS::Lambda::Url",
            "TargetFunctionArn": "${ProxyFunction.Arn}",
            "AuthType": "NONE",
            "InvokeMode": "RESPONSE_STREAM",
        },
        "URL",
    )
    equal(
        s.resources["FunctionUrlPermission"],
        permission(Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"),
        "permission",
    )
    # Without InvokedViaFunctionUrl, every AWS account could invoke the function.
    equal(
        s.resources["FunctionUrlInvokePermission"],
        permission(Action="lambda:InvokeFunction", Principal="*", InvokedViaFunctionUrl=True),
        "permission",
    )


def check_resources(s, front, domain, zone):
    want = {"RoutesTable", "ProxyFunction", "ProxyRole", "ProxyLogs"}
    if front == "http-api":
        want |= {"HttpApi", "HttpApiApiGatewayDefaultStage", "ProxyFunctionAnyRequestPermission", "AccessLogs"}
    elif front == "function-url":
        want |= {"FunctionUrl", "FunctionUrlPermission", "FunctionUrlInvokePermission"}
    else:
        want |= {"RestApi", "RestApiDeployment", "RestApiliveStage", "RestApiPermission"}
        if s.parameters["RestAccessLog"] == "true":
            want.add("AccessLogs")
    if domain:
        want |= {"CustomDomain", "CustomDomainMapping"}
    if zone:
        want |= {"CustomDomainIPv4", "CustomDomainIPv6"}
    got = {re.sub(r"^(RestApiDeployment)[0-9a-f]{10}$", r"\1", name) for name in s.resources}
    equal(got, want, "resources")
    equal("AccessLogGroup" in s.outputs, "AccessLogs" in want, "output AccessLogGroup")


def check_function(s, stream):
    f = s.resources["ProxyFunction"]
    equal(f["Type"], "AWS::Lambda::Function", "ProxyFunction")
    equal(f["Timeout"], s.parameters["StreamTimeout"] if stream else 29, "the function's timeout")
    # Any reservation fails in an account that may run 10 or 100 at a time, so none is asked for unless it is wanted.
    reserved = s.parameters["ReservedConcurrency"]
    equal(f.get("ReservedConcurrentExecutions"), None if reserved == -1 else reserved, "reserved concurrency")
    variables = f["Environment"]["Variables"]
    equal(variables["RESPONSE_MODE"], "stream" if stream else "buffered", "RESPONSE_MODE")
    equal(variables["BASE_PATH"], s.parameters["StripBasePath"], "BASE_PATH")
    equal(variables["TRUSTED_HOST_HEADER"], s.parameters["TrustedHostHeader"], "TRUSTED_HOST_HEADER")
    equal(variables["ROUTES_TTL"], s.parameters["RoutesTtl"], "ROUTES_TTL")
    equal(variables["ROUTES_MAX_STALE"], s.parameters["RoutesMaxStale"], "ROUTES_MAX_STALE")
    equal(variables["WARM_HOSTS"], s.parameters["WarmHosts"], "WARM_HOSTS")
    equal(variables["TRUSTED_PROXIES"], s.parameters["TrustedProxies"], "TRUSTED_PROXIES")
    # A CDN id of RFC 8586 that no other stack has.
    equal(variables["CDN_LOOP_ID"], "sleight-" + PSEUDO["AWS::StackId"].split("/")[-1], "CDN_LOOP_ID")


def check_table(s):
    equal(s.resources["RoutesTable"].get("DeletionProtectionEnabled"), True, "deletion protection of the table")
    table = s.template["Resources"]["RoutesTable"]
    equal((table.get("DeletionPolicy"), table.get("UpdateReplacePolicy")), ("Retain", "Retain"), "the table stays")


def check_domain(s, front):
    domain = s.resources["CustomDomain"]
    equal(domain["DomainName"], "shop.example.com", "domain")
    (configuration,) = domain["DomainNameConfigurations"]
    # A REST API with ApiGatewayV2 mappings takes no other.
    equal((configuration["EndpointType"], configuration["SecurityPolicy"]), ("REGIONAL", "TLS_1_2"), "domain")
    mapping = s.resources["CustomDomainMapping"]
    equal(mapping["DomainName"], "${CustomDomain}", "mapping")
    want = ("${HttpApi}", "${HttpApiApiGatewayDefaultStage}")
    if front != "http-api":
        want = ("${RestApi}", "${RestApiliveStage}")
    equal((mapping["ApiId"], mapping["Stage"]), want, "mapping")
    T.assertNotIn("ApiMappingKey", mapping)


def check_outputs(s, front, domain):
    host = {
        "http-api": "${HttpApi}.execute-api.eu-central-1.amazonaws.com",
        "function-url": "abc.lambda-url.eu-central-1.on.aws",
    }.get(front, "${RestApi}.execute-api.eu-central-1.amazonaws.com")
    path = "live/" if front.startswith("rest") and not domain else ""
    if domain:
        host = "shop.example.com"
    equal(s.outputs["Url"], f"https://{host}/{path}", "output Url")
    item = json.loads(re.search(r"--item '(.*)'$", s.outputs["PutFirstRoute"])[1])
    equal(item["host"], {"S": host}, "output PutFirstRoute")


def check_spelling(source):
    """Looks at every value a mode may get, whatever the parameters are."""

    # SAM takes for BUFFERED what it does not know, without a word, and the linter does not look into OpenAPI.
    def leaves(v):
        if isinstance(v, dict) and list(v) == ["Fn::If"]:
            return leaves(v["Fn::If"][1]) + leaves(v["Fn::If"][2])
        return [v]

    def look(v, path, allowed):
        if isinstance(v, dict):
            for key, x in v.items():
                if key in allowed:
                    for mode in leaves(x):
                        T.assertIn(mode, allowed[key], f"{path}.{key}")
                look(x, f"{path}.{key}", allowed)
        elif isinstance(v, list):
            for i, x in enumerate(v):
                look(x, f"{path}[{i}]", allowed)

    for name, resource in source["Resources"].items():
        sam = resource["Type"].startswith("AWS::Serverless::")
        allowed = {
            "InvokeMode": ("RESPONSE_STREAM", "BUFFERED"),
            "ResponseTransferMode": ("RESPONSE_STREAM" if sam else "STREAM", "BUFFERED"),
            "responseTransferMode": ("STREAM", "BUFFERED"),
            "RESPONSE_MODE": ("stream", "buffered"),
        }
        look(resource, name, allowed)


def check(text, front, **parameters):
    """Asserts all that is to be so for one front."""
    s = Stack(text, Front=front, **parameters)
    check_spelling(s.source)
    stream = front in ("rest-stream", "function-url")
    domain, zone = "DomainName" in parameters, "HostedZoneId" in parameters
    check_resources(s, front, domain, zone)
    check_function(s, stream)
    check_table(s)
    if front == "http-api":
        check_http_api(s, domain)
    elif front == "function-url":
        check_function_url(s)
    else:
        check_rest(s, stream, domain)
    if domain:
        check_domain(s, front)
    check_outputs(s, front, domain)


class Deployed(unittest.TestCase):
    def test_every_front(self):
        for front in FRONTS:
            with self.subTest(front):
                check(TEXT, front)

    def test_http_api_is_the_default(self):
        self.assertEqual(Stack(TEXT).resources, Stack(TEXT, Front="http-api").resources)

    def test_domain(self):
        for front in APIS:
            for domain in DOMAIN, ZONE:
                with self.subTest(front, zone=domain is ZONE):
                    check(TEXT, front, **domain)

    def test_function_url_has_no_domain(self):
        for domain in DOMAIN, ZONE:
            with self.assertRaisesRegex(Refused, "CloudFront.*TrustedHostHeader"):
                Stack(TEXT, Front="function-url", **domain)
        check(TEXT, "function-url", TrustedHostHeader="X-Forwarded-Host")

    def test_rest_access_log(self):
        for front in FRONTS:
            with self.subTest(front):
                check(TEXT, front, RestAccessLog="true")

    def test_timeout_and_base_path(self):
        for front in FRONTS:
            for seconds, path in (1, "/a"), (900, "/shop/v1.2_~-x"):
                with self.subTest(front, seconds=seconds, path=path):
                    check(TEXT, front, StreamTimeout=seconds, StripBasePath=path)

    def test_protection_of_the_account(self):
        for front in FRONTS:
            for rate, burst, reserved in itertools.product((1, 10_000), (1, 5_000), (-1, 0, 100)):
                with self.subTest(front, rate=rate, burst=burst, reserved=reserved):
                    check(TEXT, front, ThrottleRate=rate, ThrottleBurst=burst, ReservedConcurrency=reserved)
        for domain in DOMAIN, ZONE:
            for front in APIS:
                with self.subTest(front, zone=domain is ZONE):
                    check(TEXT, front, **domain, **PROTECTION)

    def test_the_defaults_suit_every_account(self):
        defaults = {name: p.get("Default") for name, p in yaml_parse(TEXT)["Parameters"].items()}
        self.assertEqual(defaults["ReservedConcurrency"], -1)
        # API Gateway's quota where it is smallest.
        self.assertLessEqual(defaults["ThrottleRate"], 2_500)
        self.assertLessEqual(defaults["ThrottleBurst"], 1_250)

    def test_what_checkov_shall_not_ask_for_has_a_reason(self):
        skips = [
            skip
            for resource in yaml_parse(TEXT)["Resources"].values()
            for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", [])
        ]
        self.assertTrue(skips)
        for skip in skips:
            self.assertEqual(sorted(skip), ["comment", "id"])
            self.assertRegex(skip["id"], r"^CKV2?_AWS_[0-9]+$")
            self.assertRegex(skip["comment"], r"^[A-Z].* .*\.$")

    def test_refused_parameters(self):
        for name, values in {
            "ThrottleRate": [0, -1],
            "ThrottleBurst": [0, -1],
            "ReservedConcurrency": [-2],
            "Front": ["", "alb", "REST", "rest_stream"],
            "StreamTimeout": [0, 901],
            "StripBasePath": ["/", "shop", "/shop/", "//shop", "/a//b", "/a b", "/a%20b", "/a\n"],
            "RestAccessLog": ["", "yes"],
        }.items():
            for value in values:
                with self.subTest(name, value=value), self.assertRaises(Refused):
                    Stack(TEXT, **{name: value})

    def test_a_stage_gets_a_new_deployment_each_time(self):
        names = set()
        for now in 1_000_000_000, 1_000_000_001:
            with mock.patch("samtranslator.model.apigateway.time.time", return_value=now):
                names |= {n for n in Stack(TEXT, Front="rest").resources if n.startswith("RestApiDeployment")}
        self.assertEqual(len(names), 2, "RestApi needs AlwaysDeploy: the parameters change what its text comes to")

    def test_the_form_asks_for_every_parameter(self):
        source = yaml_parse(TEXT)
        form = source["Metadata"]["AWS::CloudFormation::Interface"]
        asked = [name for group in form["ParameterGroups"] for name in group["Parameters"]]
        self.assertEqual(sorted(asked), sorted(source["Parameters"]))
        self.assertEqual(sorted(form["ParameterLabels"]), sorted(source["Parameters"]))


STREAMING_URI = "path/2021-11-15/functions/${ProxyFunction.Arn}/response-streaming-invocations"
BUFFERED_URI = "path/2015-03-31/functions/${ProxyFunction.Arn}/invocations"
MODE = "responseTransferMode: !If [IsStream, STREAM, BUFFERED]"
TIMEOUT = "timeoutInMillis: !If [IsStream, 900000, 29000]"
SAM_HTTP_API = "    Type: AWS::Serverless::HttpApi\n"
PERMISSION = "    Properties:\n      FunctionName"
RESERVED = 'ReservedConcurrentExecutions: !If [HasReservedConcurrency, !Ref ReservedConcurrency, !Ref "AWS::NoValue"]'
RATE = "ThrottlingRateLimit: !Ref ThrottleRate"
REST = ("rest", "rest-stream")
STREAMS = ("rest-stream", "function-url")

# One way each to break the template: what to replace, by what, and which fronts have to fail.
MUTATIONS = [
    (MODE, "responseTransferMode: !If [IsStream, RESPONSE_STREAM, BUFFERED]", REST),
    (MODE, "responseTransferMode: !If [IsStream, STREAMING, BUFFERED]", ("rest-stream",)),
    (MODE, "responseTransferMode: !If [IsStream, BUFFERED, STREAM]", REST),
    (MODE, "ResponseTransferMode: !If [IsStream, STREAM, BUFFERED]", REST),
    (STREAMING_URI, STREAMING_URI.replace("2021-11-15", "2015-03-31"), ("rest-stream",)),
    (STREAMING_URI, STREAMING_URI.replace("response-streaming-", ""), ("rest-stream",)),
    (STREAMING_URI, BUFFERED_URI, ("rest-stream",)),
    (BUFFERED_URI, STREAMING_URI, ("http-api", "rest")),
    ("InvokeMode: RESPONSE_STREAM", "InvokeMode: STREAM", FRONTS),
    ("InvokeMode: RESPONSE_STREAM", "InvokeMode: BUFFERED", ("function-url",)),
    ("      InvokeMode: RESPONSE_STREAM\n", "", ("function-url",)),
    ("AuthType: NONE\n      InvokeMode", "AuthType: AWS_IAM\n      InvokeMode", ("function-url",)),
    ("      FunctionUrlAuthType: NONE\n", "", ("function-url",)),
    ("      InvokedViaFunctionUrl: true\n", "", ("function-url",)),
    ("      - FunctionUrlInvokePermission\n", "", ("function-url",)),
    ("      - FunctionUrlPermission\n", "", ("function-url",)),
    ("Action: lambda:InvokeFunctionUrl", "Action: lambda:InvokeFunction", ("function-url",)),
    ("${RestApi}/live/*", "${RestApi}/prod/*", REST),
    ("    Condition: IsRest\n" + PERMISSION, PERMISSION, ("http-api",)),
    ("${HttpApi}/*/*", "*", ("http-api",)),
    ("StageName: live", "StageName: prod", REST),
    ('BinaryMediaTypes: ["*/*"]', 'BinaryMediaTypes: ["image/*"]', REST),
    ('      BinaryMediaTypes: ["*/*"]\n', "", REST),
    ("Type: REGIONAL", "Type: EDGE", REST),
    ("          /{proxy+}:", "          /{proxy}:", REST),
    ("          /:\n            x-amazon-apigateway-any-method:", "          /:\n            get:", REST),
    (TIMEOUT, "timeoutInMillis: !If [IsStream, 29000, 29000]", ("rest-stream",)),
    (TIMEOUT, "timeoutInMillis: !If [IsStream, 900000, 30000]", ("rest",)),
    ("timeoutInMillis: 30000", "timeoutInMillis: 29000", ("http-api",)),
    ('payloadFormatVersion: "2.0"', 'payloadFormatVersion: "1.0"', ("http-api",)),
    ("              isDefaultRoute: true\n", "", ("http-api",)),
    ("Timeout: !If [IsStream, !Ref StreamTimeout, 29]", "Timeout: 29", STREAMS),
    ("Timeout: !If [IsStream, !Ref StreamTimeout, 29]", "Timeout: !Ref StreamTimeout", ("http-api", "rest")),
    ("RESPONSE_MODE: !If [IsStream, stream, buffered]", "RESPONSE_MODE: buffered", STREAMS),
    ("RESPONSE_MODE: !If [IsStream, stream, buffered]", "RESPONSE_MODE: !If [IsStream, STREAM, buffered]", FRONTS),
    (RESERVED, "ReservedConcurrentExecutions: !Ref ReservedConcurrency", FRONTS),
    (RESERVED, "ReservedConcurrentExecutions: 100", FRONTS),
    ("        ThrottlingRateLimit: !Ref ThrottleRate\n        Throttling", "        Throttling", ("http-api",)),
    ("          ThrottlingRateLimit: !Ref ThrottleRate\n          Throttling", "          Throttling", REST),
    ("          ResourcePath: /*\n", "          ResourcePath: /\n", REST),
    ('        - HttpMethod: "*"\n', "        - HttpMethod: GET\n", REST),
    ("      DeletionProtectionEnabled: true\n", "", FRONTS),
    ("DeletionProtectionEnabled: true", "DeletionProtectionEnabled: false", FRONTS),
    ("    DeletionPolicy: Retain\n", "", FRONTS),
    ("    DeletionPolicy: Retain\n    UpdateReplacePolicy: Retain\n", "    DeletionPolicy: Retain\n", FRONTS),
    ("          BASE_PATH: !Ref StripBasePath\n", '          BASE_PATH: "/"\n', FRONTS),
    (SAM_HTTP_API + "    Condition: IsHttpApi\n", SAM_HTTP_API, FRONTS[1:]),
    ("    Condition: HasAccessLog\n    DeletionPolicy", "    DeletionPolicy", ("function-url",)),
    ("        - !GetAtt FunctionUrl.FunctionUrl\n", "        - !Sub https://${HttpApi}/\n", ("function-url",)),
    ("${AWS::URLSuffix}/live/", "${AWS::URLSuffix}/", REST),
    ("- !Sub ${RestApi}.execute-api", "- !Sub ${RestApi}.api", REST),
    (
        "      Architectures: [arm64]\n",
        "      Architectures: [arm64]\n      Events:\n        Any:\n          Type: Api\n          Properties: "
        "{ Path: /x, Method: ANY, RestApiId: !Ref RestApi, ResponseTransferMode: STREAM }\n",
        FRONTS,
    ),
]
# The same with a custom domain.
DOMAIN_MUTATIONS = [
    ("ApiId: !If [IsHttpApi, !Ref HttpApi, !Ref RestApi]", "ApiId: !Ref HttpApi", REST),
    ("Stage: !If [IsHttpApi, !Ref HttpApi.Stage, !Ref RestApi.Stage]", "Stage: $default", APIS),
    ("DisableExecuteApiEndpoint: !If [HasDomain, true, false]", "DisableExecuteApiEndpoint: false", APIS),
    ("SecurityPolicy: TLS_1_2", "SecurityPolicy: TLS_1_0", APIS),
    ("- !Sub https://${DomainName}/", "- !Sub https://${DomainName}/live/", APIS),
]


# The same with a protection of one's own.
PROTECTION_MUTATIONS = [
    (RESERVED, 'ReservedConcurrentExecutions: !Ref "AWS::NoValue"', FRONTS),
    ("!Not [!Equals [!Ref ReservedConcurrency, -1]]", "!Equals [!Ref ReservedConcurrency, -1]", FRONTS),
    (RATE, "ThrottlingRateLimit: 100", APIS),
    (RATE, "ThrottlingRateLimit: !Ref ThrottleBurst", APIS),
    ("ThrottlingBurstLimit: !Ref ThrottleBurst", "ThrottlingBurstLimit: 200", APIS),
]


class Broken(unittest.TestCase):
    """A check that cannot fail proves nothing."""

    def test_every_mutation_fails(self):
        for mutations, parameters in (MUTATIONS, {}), (DOMAIN_MUTATIONS, DOMAIN), (PROTECTION_MUTATIONS, PROTECTION):
            for old, new, fronts in mutations:
                self.assertIn(old, TEXT)
                broken = TEXT.replace(old, new)
                for front in fronts:
                    with self.subTest(old=old, new=new, front=front), self.assertRaises(AssertionError):
                        check(broken, front, **parameters)

    def test_either_path_alone(self):
        for old, new in (MODE, "responseTransferMode: BUFFERED"), (STREAMING_URI, BUFFERED_URI):
            before, between, after = TEXT.split(old)
            for broken in before + new + between + old + after, before + old + between + new + after:
                with self.assertRaisesRegex(AssertionError, "integration of /"):
                    check(broken, "rest-stream")

    def test_a_function_url_without_its_rule(self):
        rule = "RuleCondition: !Equals [!Ref Front, function-url]"
        broken = TEXT.replace(rule, "RuleCondition: !Equals [!Ref Front, alb]")
        self.assertNotEqual(broken, TEXT)
        # Nobody refuses the domain, and then it is mapped to an API that is not there.
        with self.assertRaises(Fault):
            Stack(broken, Front="function-url", **DOMAIN)

    def test_without_always_deploy(self):
        broken = TEXT.replace("      AlwaysDeploy: true\n", "")
        self.assertNotEqual(broken, TEXT)
        with mock.patch(f"{__name__}.TEXT", broken), self.assertRaises(AssertionError):
            Deployed("test_a_stage_gets_a_new_deployment_each_time").debug()

    def test_spelling(self):
        def resource(kind, properties):
            return {"Resources": {"R": {"Type": kind, "Properties": properties}}}

        def event(mode):
            any_request = {"Type": "Api", "Properties": {"ResponseTransferMode": mode}}
            return resource("AWS::Serverless::Function", {"Events": {"Any": any_request}})

        def method(mode):
            return resource("AWS::ApiGateway::Method", {"Integration": {"ResponseTransferMode": mode}})

        check_spelling(event("RESPONSE_STREAM"))
        check_spelling(event({"Fn::If": ["IsStream", "RESPONSE_STREAM", "BUFFERED"]}))
        check_spelling(method("STREAM"))
        for wrong in (
            event("STREAM"),
            event("RESPONSE-STREAM"),
            event({"Fn::If": ["IsStream", "STREAM", "BUFFERED"]}),
            method("RESPONSE_STREAM"),
        ):
            with self.subTest(wrong=wrong), self.assertRaises(AssertionError):
                check_spelling(wrong)


def setUpModule():
    # SAM says on every run which of its feature toggles this machine has no settings for.
    logging.getLogger("samtranslator").setLevel(logging.ERROR)
    offline = mock.patch("socket.socket.connect", side_effect=AssertionError("this test shall not use the network"))
    offline.start()
    unittest.addModuleCleanup(offline.stop)


if __name__ == "__main__":
    unittest.main()
