// The CAP server listens on the loopback only.
const cds = require('@sap/cds')

cds.on('bootstrap', app => {
	const listen = app.listen.bind(app)

	app.listen = port => listen(port, '127.0.0.1')
})

module.exports = cds.server
