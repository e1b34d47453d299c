// Checks webhook signatures with the npm package standardwebhooks.
//
// Reads the sandbox's log lines on standard input; arguments: the secret.
// Prints one line per request: "good ID", "bad ID why"; a body with one byte
// changed must be refused, or the line is "deaf ID".
const { Webhook } = require('standardwebhooks')
const wh = new Webhook(process.argv[2])

require('readline').createInterface({ input: process.stdin }).on('line', line => {
	const { body, headers } = JSON.parse(line)
	const id = headers['webhook-id']

	try {
		wh.verify(body, headers)
	} catch (e) {
		console.log(`bad ${id} ${e.message}`)
		return
	}
	try {
		wh.verify(body + ' ', headers)
		console.log(`deaf ${id}`)
	} catch (e) {
		console.log(`good ${id}`)
	}
})
