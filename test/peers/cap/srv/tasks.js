const cds = require('@sap/cds')

module.exports = cds.service.impl(function () {
	const { Partners } = this.entities

	this.on('raiseLimit', async req => {
		const { ID } = req.params[0]
		const partner = await SELECT.one.from(Partners, ID)

		if (!partner)
			return req.reject(404, `no partner ${ID}`)
		const raised = (Number(partner.CreditLimit) * (1 + Number(req.data.percent) / 100)).toFixed(2)
		await UPDATE(Partners, ID).with({ CreditLimit: raised, City: req.data.reason })
		return raised
	})
	this.on('better', async req => {
		const { ID } = req.params[0]
		const partner = await SELECT.one.from(Partners, ID)

		return partner.Rating > req.data.than
	})
	this.on('greet', req => Array(req.data.times ?? 1).fill(`hello ${req.data.name}`).join(', '))
	this.on('between', req => {
		const days = (Date.parse(req.data.last) - Date.parse(req.data.first)) / 86400000

		return { days, later: days > 0 }
	})
	this.on('several', req => Array.from({ length: req.data.n }, (_, i) => `no. ${i + 1}`))
	this.on('settle', async req => {
		const { partners, day, dry } = req.data
		const settled = dry ? 0 : await UPDATE(Partners).set({ Since: day }).where({ ID: { in: partners } })

		return { settled, day }
	})
	this.on('tidy', () => {})
	this.on('refuse', req => req.reject(req.data.status, req.data.text))
})
