package config

// kinds are the kinds of plugin.
var kinds = []string{"handler", "gate", "notifier", "customizer", "builder", "service"}

// language is the whole of iib.hcl. The reference in docs/configuration.md is
// made from it.
var language = Block{
	Schema: Schema{
		Blocks: []Block{
			localsBlock,
			serverBlock,
			identityBlock,
			accessBlock,
			databaseBlock,
			redisBlock,
			secretsBlock,
			registryBlock,
			artifactsBlock,
			apiBlock,
			tracingBlock,
			queueBlock,
			userBlock,
			pluginBlock,
			organizationBlock,
			buildBlock,
		},
	},
}

var localsBlock = Block{
	Name: "locals", Multiple: true, open: true,
	Doc: "Values with names of your choice, used elsewhere as `local.NAME`. They may refer to each other in any order.",
}

var serverBlock = Block{
	Name: "server",
	Doc:  "The process itself: where it listens, where it keeps its files, what it logs.",
	Schema: Schema{
		Attributes: []Attribute{
			{
				Name: "listen", Type: String, Default: `"127.0.0.1:8080"`, form: addressForm, restart: true,
				Doc: "The address that the API answers on. Port 0 takes a free port. The environment variable `IIB_LISTEN` wins over it.",
			},
			{
				Name: "data_dir", Type: String, Default: `"data"`, form: pathForm, restart: true,
				Doc: "The directory for everything that the engine keeps. The environment variable `IIB_DATA_DIR` wins over it.",
			},
			{
				Name: "plugin_dir", Type: String, form: pathForm,
				Doc: "The directory of the plugin binaries. Empty is the directory `plugins` beside the running program.",
			},
			{
				Name: "require_checksums", Type: Bool, Default: "false",
				Doc: "Refuse to run a plugin whose block has no `checksum`.",
			},
			{
				Name: "external_url", Type: String, form: webForm,
				Doc: "The address under which clients reach the engine, for the links in answers. Empty takes it from each request.",
			},
			{
				Name: "max_body", Type: String, Default: `"10MiB"`, form: sizeForm,
				Doc: "The largest request body that the API reads.",
			},
			{
				Name: "concurrency", Type: Int, Default: "0", most: 10000,
				Doc: "How many requests this process runs at the same time, over all queues; where they wait for each other, the `priority` of their queues counts. 0 is no limit but that of each queue. `iib worker --concurrency` wins over it.",
			},
			{
				Name: "log_level", Type: String, Default: `"info"`, oneOf: []string{"debug", "info", "warn", "error"},
				Doc: "The least important kind of line that is logged.",
			},
			{
				Name: "log_format", Type: String, Default: `"text"`, oneOf: []string{"text", "json"}, restart: true,
				Doc: "How a log line is written.",
			},
			{
				Name: "trusted_proxies", Type: List, form: networkForm,
				Doc: "The networks of the proxies whose `Forwarded`, `X-Forwarded-Proto`, `X-Forwarded-Host`, `X-Forwarded-For` and `X-Request-Id` headers are believed. Of a list in them the last entry counts.",
			},
		},
		Blocks: []Block{{
			Name: "tls",
			Doc:  "Serve HTTPS. The files are read again when they change.",
			Schema: Schema{Attributes: []Attribute{
				{
					Name: "cert_file", Type: String, Required: true, form: pathForm,
					Doc: "The certificate with its chain, in PEM form.",
				},
				{
					Name: "key_file", Type: String, Required: true, form: pathForm,
					Doc: "The certificate's private key, in PEM form.",
				},
			}},
		}},
	},
}

var identityBlock = Block{
	Name: "identity", Labels: []string{"method"}, Multiple: true, unique: true,
	Doc: "How callers are recognized. Several blocks with different methods work side by side: a request may use any of them. " +
		"Without such a block nobody is recognized and everybody may submit.",
	variants: []Block{
		{
			Name: "none",
			Doc: "Accept callers that are not recognized. Requests then have no user. " +
				"Together with other methods it makes recognition optional.",
		},
		{
			Name: "header",
			Doc:  "Take the user's name from a header that a proxy in front sets after it has authenticated the caller. The proxy must remove the header from what clients send.",
			Schema: Schema{Attributes: []Attribute{
				{
					Name: "header", Type: String, Default: `"X-Remote-User"`, form: headerForm,
					Doc: "The header's name.",
				},
				{
					Name: "from", Type: List, Required: true, form: networkForm,
					Doc: "The networks of the proxies. From any other address the header is ignored.",
				},
			}},
		},
		{
			Name: "kerberos",
			Doc:  "Negotiate (SPNEGO) with a Kerberos ticket. The user's name is the principal with its realm. The service does not prove itself in return: clients that demand this must be told not to, and use TLS.",
			Schema: Schema{Attributes: []Attribute{
				{
					Name: "keytab", Type: String, Required: true, form: pathForm,
					Doc: "The keytab file of the service.",
				},
				{
					Name: "principal", Type: String, form: principalForm,
					Doc: "The service principal to use from the keytab. Empty takes the only one.",
				},
			}},
		},
		{
			Name: "oidc",
			Doc:  "Bearer tokens signed by an OpenID Connect provider.",
			Schema: Schema{Attributes: []Attribute{
				{
					Name: "issuer", Type: String, Required: true, form: webForm,
					Doc: "The provider's issuer URL, to the letter as in its tokens.",
				},
				{
					Name: "audience", Type: String, Required: true,
					Doc: "The audience that a token must be meant for.",
				},
				{
					Name: "user_claim", Type: String, Default: `"preferred_username"`,
					Doc: "The claim that has the user's name.",
				},
			}},
		},
		{
			Name: "tokens",
			Doc:  "Bearer tokens that you hand out.",
			Schema: Schema{Attributes: []Attribute{
				{
					Name: "file", Type: String, Required: true, form: pathForm,
					Doc: "A file with a user's name and the hash of a token on each line: `iib token USER` makes both. It is read again when it changes.",
				},
			}},
		},
	},
}

var accessBlock = Block{
	Name: "access",
	Doc:  "What users may do beyond submitting requests.",
	Schema: Schema{Attributes: []Attribute{
		{
			Name: "workers", Type: List,
			Doc: "Users who may change requests with PATCH, as outside workers do.",
		},
		{
			Name: "privileged", Type: List,
			Doc: "Users who may overwrite an index without a token of their own; the engine's credentials are used.",
		},
		{
			Name: "force_overwrite", Type: Bool, Default: "false",
			Doc: "Let every add and rm of a privileged user overwrite its index, whatever the request says.",
		},
	}},
}

var databaseBlock = Block{
	Name: "database",
	Doc:  "Where requests, their states and events are stored.",
	Schema: Schema{Attributes: []Attribute{
		{
			Name: "url", Type: SecretString, form: databaseForm, restart: true,
			Doc: "`sqlite:FILE`, a file in `data_dir` unless the path is absolute, or `postgres://USER:PASSWORD@HOST/DATABASE`. Empty is `sqlite:iib.db`.",
		},
	}},
}

var redisBlock = Block{
	Name: "redis",
	Doc:  "The queue. It holds nothing that the database does not: an emptied Redis is filled again.",
	Schema: Schema{Attributes: []Attribute{
		{
			Name: "url", Type: SecretString, form: redisForm, restart: true,
			Doc: "`redis://`, `rediss://` (TLS), `redis-socket://`, `redis-sentinel://HOST,HOST?master=NAME`, `redis-cluster://HOST,HOST` or `rediss-cluster://`. " +
				"Empty runs one inside of the process, which is right as long as there is only one process.",
		},
	}},
}

var secretsBlock = Block{
	Name: "secrets",
	Doc:  "The key that tokens and credentials of requests are sealed with in the database. All processes on one database need the same.",
	Schema: Schema{Attributes: []Attribute{
		{
			Name: "key", Type: SecretString, form: keyForm,
			Doc: "32 bytes in base64 or hexadecimal. Do not write it into this file: use `env` or `file`.",
		},
		{
			Name: "key_file", Type: String, form: pathForm,
			Doc: "A file with such a key. Without `key` and `key_file` it is `secret.key` in `data_dir`, made at the first start.",
		},
		{
			Name: "previous_keys", Type: List, form: keyForm, hidden: true,
			Doc: "Keys that were used before, to open what is still sealed with them.",
		},
	}},
}

var registryBlock = Block{
	Name: "registry",
	Doc:  "Where images are pushed, and how registries are reached.",
	Schema: Schema{Attributes: []Attribute{
		{
			Name: "address", Type: String, form: registryForm,
			Doc: "What `{registry}` stands for: the registry that results are pushed to. Empty is the engine's own address, where the registry plugin answers.",
		},
		{
			Name: "push", Type: String, Default: `"{registry}/iib-build:{request_id}"`, form: pushForm,
			Doc: "The pull spec that a request's result is pushed to. A build tag takes the place of the tag.",
		},
		{
			Name: "output", Type: String, form: registryForm,
			Doc: "The registry that is shown to users instead of `address`, where they pull through another name.",
		},
		{
			Name: "auth_file", Type: String, form: pathForm,
			Doc: "Credentials of registries, in the form that `podman login` and `docker login` write.",
		},
		{
			Name: "plain_http", Type: List, form: hostForm,
			Doc: "Registries that speak HTTP without TLS. The engine's own need not be listed.",
		},
		{
			Name: "ca_files", Type: Map, form: hostForm,
			Doc: "Files of PEM certificates to trust, by registry, besides the system's.",
		},
		{
			Name: "denied_networks", Type: List, Default: `["169.254.0.0/16", "fe80::/10"]`, form: networkForm,
			Doc: "Networks that nobody but the administrator may lead the engine to: by a pull spec in a request, by a source or a repository of a compose, or by a redirect. Addresses of services and sources in this file are not judged, what they redirect to is. The default keeps the metadata services of clouds out of reach.",
		},
		{
			Name: "oci", Type: Bool, Default: "false",
			Doc: "Push OCI media types instead of Docker's version 2 schema 2.",
		},
	}, Blocks: []Block{{
		Name: "quay", Labels: []string{"registry"}, Multiple: true, unique: true, labelForm: hostForm,
		Doc: "A registry that has Quay's API for the history of tags, which `iib tag` then uses. Without a block, only what the engine moved there itself is known.",
		Schema: Schema{Attributes: []Attribute{
			{Name: "url", Type: String, form: webForm, Doc: "The address of the API. Empty is `https://` and the registry."},
			{Name: "token_file", Type: String, form: pathForm, Doc: "A file with an OAuth access token with the scopes `repo:read` and `repo:write`. It is read for each call."},
		}},
	}}},
}

var artifactsBlock = Block{
	Name: "artifacts",
	Doc:  "Logs and other files that requests leave behind.",
	Schema: Schema{
		Attributes: []Attribute{
			{
				Name: "dir", Type: String, form: pathForm, restart: true,
				Doc: "The directory for them. Empty is `artifacts` in `data_dir`.",
			},
			{
				Name: "keep", Type: String, Default: `"72h"`, form: positiveForm,
				Doc: "How long after a request's last state its files are kept.",
			},
			{
				Name: "logs", Type: Bool, Default: "true",
				Doc: "Keep a log of each request and serve it.",
			},
			{
				Name: "max_size", Type: String, Default: `"16GiB"`, form: sizeForm, restart: true,
				Doc: "The largest artifact, such as the image of an operating system. Zeros in it take no space.",
			},
		},
		Blocks: []Block{{
			Name: "s3",
			Doc:  "Keep the files in a bucket that speaks S3, instead of a directory. The service must know conditional writes (`If-Match` and `If-None-Match`), as Amazon S3, MinIO and Ceph do. Its certificate is verified.",
			Schema: Schema{Attributes: []Attribute{
				{Name: "bucket", Type: String, Required: true, form: bucketForm, restart: true, Doc: "The bucket's name. It has to exist."},
				{Name: "region", Type: String, Required: true, restart: true, Doc: "The bucket's region. Services other than AWS often take any, such as `us-east-1`."},
				{
					Name: "endpoint", Type: String, form: webForm, restart: true,
					Doc: "The service's address. Empty is that of AWS for the region. `http://` is without TLS, for a service on the same machine or in a network that is trusted.",
				},
				{
					Name: "ca_file", Type: String, form: pathForm, restart: true,
					Doc: "PEM certificates of the authorities to trust, instead of the system's.",
				},
				{Name: "prefix", Type: String, restart: true, Doc: "What the names of all objects begin with, usually with a `/` at its end."},
				{Name: "access_key", Type: SecretString, restart: true, Doc: `The access key, usually ` + "`env(\"AWS_ACCESS_KEY_ID\")`. Without the two keys the environment's `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, AWS's file of credentials, and the role of the machine or container are used, whichever is found first."},
				{Name: "secret_key", Type: SecretString, restart: true, Doc: `The secret key, usually ` + "`env(\"AWS_SECRET_ACCESS_KEY\")`."},
			}},
		}},
	},
}

var apiBlock = Block{
	Name: "api",
	Doc:  "Limits of the API.",
	Schema: Schema{Attributes: []Attribute{
		{
			Name: "page_size", Type: Int, Default: "20", least: 1, most: 1000,
			Doc: "How many requests a page of a list has if the caller does not say. It is never more than `max_per_page`.",
		},
		{
			Name: "max_per_page", Type: Int, Default: "20", least: 1, most: 1000,
			Doc: "How many requests a page has at most.",
		},
		{
			Name: "max_wait", Type: String, Default: `"60s"`, form: durationForm,
			Doc: "How long a caller may wait for a request to end with `?wait=`. Who wants longer is answered after this time.",
		},
		{
			Name: "requests_per_minute", Type: Int, Default: "0", least: 0, most: 1000000,
			Doc: "How many requests a user may submit in a minute before the answer is 429 with `Retry-After`. Callers without a user are told apart by their address, and each API process counts for itself. 0 is no limit.",
		},
	}},
}

var tracingBlock = Block{
	Name: "tracing",
	Doc:  "OpenTelemetry traces of requests through API, queue, worker and plugins. Without this block there are none.",
	Schema: Schema{Attributes: []Attribute{
		{
			Name: "endpoint", Type: String, Required: true, form: webForm, restart: true,
			Doc: "The address of the collector, which takes OTLP over HTTP: `https://collector.example.com:4318`. Without a path, traces go to `/v1/traces`.",
		},
		{
			Name: "service_name", Type: String, Default: `"iib"`, restart: true,
			Doc: "The name of this service in traces.",
		},
	}},
}

var queueBlock = Block{
	Name: "queue", Labels: []string{"name"}, Multiple: true, unique: true, labelForm: nameForm,
	Doc: `A queue of requests. The queue "default" exists without a block; it takes all requests that neither the ` + "`requests`" + ` of a queue nor a user block sends elsewhere.`,
	Schema: Schema{Attributes: []Attribute{
		{
			Name: "concurrency", Type: Int, Default: "4", least: 1, most: 1000,
			Doc: "How many requests of the queue one worker process runs at the same time.",
		},
		{
			Name: "timeout", Type: String, Default: `"2h"`, form: positiveForm,
			Doc: "How long a request may run before it fails.",
		},
		{
			Name: "attempts", Type: Int, Default: "5", least: 1, most: 100,
			Doc: "How often a request is run before a fault that might pass, such as a registry that does not answer, becomes final.",
		},
		{
			Name: "priority", Type: Int, Default: "1", least: 1, most: 10,
			Doc: "Where requests of several queues wait for the same worker, those of the queue with the higher number go first, then those that came first. Requests wait for the same worker where the `concurrency` of `server` is less than that of all queues together.",
		},
		{
			Name: "serial", Type: String, Default: `"none"`, oneOf: []string{"none", "index", "queue"},
			Doc: "What runs one after another, over all processes: `\"index\"` is the requests on the same index, `\"queue\"` all requests of the queue, in the order of their numbers. It counts for requests that are submitted from then on.",
		},
		{
			Name: "requests", Type: List, form: requestForm,
			Doc: "The request types that go to this queue, whoever submits them. A type may be named by one queue.",
		},
	}},
}

// queueChoice are the two settings that choose a queue.
func queueChoice(otherwise, otherwiseOverwrite string) []Attribute {
	return []Attribute{
		{Name: "queue", Type: String, refers: "queue", Doc: "The queue for requests. " + otherwise},
		{Name: "overwrite_queue", Type: String, refers: "queue", Doc: "The queue for requests that overwrite an index. " + otherwiseOverwrite},
	}
}

var userBlock = Block{
	Name: "user", Labels: []string{"name"}, Multiple: true, unique: true, labelForm: userForm,
	Doc: "Which queue the requests of a user go to. For a request that overwrites an index, the first that is written wins: " +
		"`overwrite_queue` of its index, `overwrite_queue` of the user, `queue` of its index, `queue` of the user; for others only the last two count.",
	Schema: Schema{
		Attributes: queueChoice(`Empty is "default".`, "Empty is as `queue`."),
		Blocks: []Block{{
			Name: "index", Labels: []string{"pull spec"}, Multiple: true, unique: true, labelForm: pullSpecForm,
			Doc:    "Another choice for one index, named exactly as requests name it in `from_index`.",
			Schema: Schema{Attributes: queueChoice("Empty is the user's.", "Empty is the user's.")},
		}},
	},
}

var pluginBlock = Block{
	Name: "plugin", Labels: []string{"name"}, Multiple: true, unique: true, labelForm: nameForm,
	Doc: "A plugin: a program that the engine starts and asks. Gates are asked in the order of the file.",
	Schema: Schema{
		Attributes: []Attribute{
			{
				Name: "kind", Type: String, Required: true, oneOf: kinds,
				Doc: "What it may be used as. A binary that offers several kinds has a block for each.",
			},
			{
				Name: "path", Type: String, form: pathForm,
				Doc: "The binary, below `plugin_dir` unless the path is absolute. Empty is the block's name.",
			},
			{
				Name: "checksum", Type: String, form: checksumForm,
				Doc: "What the binary must be, as `sha256:` and 64 hexadecimal digits. `iib plugin list` shows what it is.",
			},
			{
				Name: "enabled", Type: Bool, Default: "true",
				Doc: "Whether it is used. Change it and reload to switch a plugin on or off.",
			},
			{
				Name: "requests", Type: List, form: requestForm,
				Doc: "The request types that a handler serves, a gate is asked about, or a notifier hears of. Empty is all that it offers. Not for other kinds.",
			},
			{
				Name: "mount", Type: String, form: mountForm,
				Doc: "The path that a service answers below, such as `\"/status/\"`.",
			},
			{
				Name: "mounts", Type: List, form: mountForm,
				Doc: "Several such paths.",
			},
			{
				Name: "timeout", Type: String, form: positiveForm,
				Doc: "How long a call of a gate, notifier, customizer or builder, or a request to a service, may take. Empty is one minute for a notifier; the others are only limited by the request's own time.",
			},
			{
				Name: "attempts", Type: Int, Default: "10", least: 1, most: 100,
				Doc: "How often an event is offered to a notifier that fails at it, with growing pauses, before it is parked. Attempts while the notifier is unavailable do not count. For notifiers only.",
			},
			{
				Name: "pass_authorization", Type: Bool, Default: "false",
				Doc: "Hand the `Authorization` header of callers to a service that recognizes users itself, as a registry does. Otherwise it gets the user's name only.",
			},
			{
				Name: "insecure_transport", Type: Bool, Default: "false",
				Doc: "Talk to the plugin without TLS, over a socket that only this user can open. For plugins in languages whose library cannot do otherwise.",
			},
			{
				Name: "env", Type: List, form: variableForm,
				Doc: "The names of the environment variables that the plugin gets. It gets no others.",
			},
		},
		Blocks: []Block{
			{
				Name: "listener", Labels: []string{"address"}, Multiple: true, unique: true, labelForm: listenerForm,
				Doc: "An address of its own for a service, where it answers from the root: `\"127.0.0.1:8081\"` or `\"unix:/run/iib/x.sock\"`. Callers are recognized as on the engine's own address, and a `tls` block holds for it too.",
				Schema: Schema{Attributes: []Attribute{
					{Name: "group", Type: String, Doc: "The group that a socket belongs to. Empty is that of the process."},
					{Name: "mode", Type: String, Default: `"0600"`, form: modeForm, Doc: "Who may open a socket, in octal."},
				}},
			},
			{
				Name: "limits",
				Doc:  "What the plugin's process may use. A plugin that exceeds a limit is ended and started again.",
				Schema: Schema{Attributes: []Attribute{
					{Name: "memory", Type: String, form: sizeForm, Doc: "Memory. Empty is no limit."},
					{Name: "cpu_time", Type: String, form: positiveForm, Doc: "Processor time over the life of the process. Empty is no limit."},
					{Name: "open_files", Type: Int, least: 0, most: 1 << 20, Doc: "Open files and connections. 0 is no limit."},
				}},
			},
			{
				Name: "config", open: true,
				Doc: "The plugin's own settings. Its README lists them, and `iib plugin describe FILE` shows them.",
			},
		},
	},
}

var organizationBlock = Block{
	Name: "organization", Labels: []string{"name"}, Multiple: true, unique: true, labelForm: organizationForm,
	Doc: `How bundles are customized for an organization. The name "*" is for requests of organizations that have no block of their own, and for those without any.`,
	Schema: Schema{Blocks: []Block{{
		Name: "customize", Labels: []string{"type"}, Multiple: true, Required: true, open: true, labelForm: nameForm,
		Doc: "A step. Steps run in the order of the file; one type may occur several times. All settings but `plugin` belong to the step.",
		Schema: Schema{Attributes: []Attribute{{
			Name: "plugin", Type: String, refers: "plugin",
			Doc: "The customizer that the step is taken from, where several offer one of this type.",
		}}},
	}}},
}

var buildBlock = Block{
	Name: "build",
	Doc:  "How images are built.",
	Schema: Schema{Attributes: []Attribute{{
		Name: "builder", Type: String, refers: "plugin",
		Doc: "The builder plugin to use. Empty is the only one that is enabled.",
	}}},
}
