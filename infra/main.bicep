// What `azd up` creates: the app in a resource group of its own, and one role on the Azure OpenAI resource that is
// already there. Every parameter is text, because azd fills in the parameters file from text; empty means "not this".
targetScope = 'subscription'

@description('The azd environment. Everything created here is named after it.')
@minLength(1)
@maxLength(40)
param environmentName string

@description('Region of the app. Near the Azure OpenAI resource is best: each mint is one call there.')
@metadata({ azd: { type: 'location' } })
param location string

@description('The existing Azure OpenAI resource.')
@minLength(2)
param openAiName string

@description('The resource group that the Azure OpenAI resource is in.')
@minLength(1)
param openAiResourceGroup string

@description('Deployment of a realtime model in that resource.')
@minLength(1)
param realtimeDeployment string

@description('Deployment of a transcription model in that resource. Empty: no transcription.')
param transcriptionDeployment string = ''

@description('mint_time, post_connect or auto. Empty: the default of the app, post_connect.')
@allowed(['', 'mint_time', 'post_connect', 'auto'])
param transcriptionMode string = ''

@description('A second Azure OpenAI resource, in another region, with deployments of the same names. Empty: none.')
param secondOpenAiName string = ''

@description('The resource group of the second resource. Empty: that of the first.')
param secondOpenAiResourceGroup string = ''

@description('Origins of the web pages that may call the app, separated by commas, as https://web.example. Empty: none.')
param allowedOrigins string = ''

@description('Client ID of an Entra app registration. Users then sign in with it (Easy Auth); empty: a function key is asked for.')
param easyAuthClientId string = ''

@description('SKU of an Azure Managed Redis in which all instances count quotas, such as Balanced_B0. Empty: each instance counts for itself.')
param redisSku string = ''

@description('Key of the hashes that stand for callers in the log and in Redis, so that they are the same on all instances. Empty: each process makes one up for its log, and Redis gets hashes without a key.')
@secure()
param callerHashKey string = ''

@description('Name of the app identity. Another name makes a new identity with the same roles; empty: one made of the environment name.')
param identityName string = ''

@description('Who gets the alerts. Empty: the alert rules are there and show in the portal, and nobody is written to.')
param alertEmail string = ''

@description('Requests that one instance works on at a time. MAX_CONCURRENT_MINTS is set to the same number.')
@minValue(1)
@maxValue(1000)
param perInstanceConcurrency int = 64

var tags = { 'azd-env-name': environmentName }
var token = toLower(uniqueString(subscription().id, environmentName, location))

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: empty(identityName) ? 'id-${token}' : identityName
    location: location
    tags: tags
  }
}

module role 'role.bicep' = {
  name: 'role-${token}'
  scope: resourceGroup(openAiResourceGroup)
  params: {
    openAiName: openAiName
    principalId: identity.outputs.principalId
  }
}

module secondRole 'role.bicep' = if (!empty(secondOpenAiName)) {
  name: 'second-role-${token}'
  scope: resourceGroup(empty(secondOpenAiResourceGroup) ? openAiResourceGroup : secondOpenAiResourceGroup)
  params: {
    openAiName: secondOpenAiName
    principalId: identity.outputs.principalId
  }
}

module redis 'redis.bicep' = if (!empty(redisSku)) {
  name: 'redis'
  scope: group
  params: {
    name: 'redis-${token}'
    location: location
    tags: tags
    sku: redisSku
  }
}

module app 'app.bicep' = {
  name: 'app'
  scope: group
  params: {
    token: token
    location: location
    tags: tags
    identityName: identity.outputs.name
    endpoint: role.outputs.endpoint
    secondEndpoint: empty(secondOpenAiName) ? '' : secondRole!.outputs.endpoint
    realtimeDeployment: realtimeDeployment
    transcriptionDeployment: transcriptionDeployment
    transcriptionMode: transcriptionMode
    allowedOrigins: empty(allowedOrigins) ? [] : split(allowedOrigins, ',')
    easyAuthClientId: easyAuthClientId
    callerHashKey: callerHashKey
    redisName: empty(redisSku) ? '' : redis!.outputs.name
    perInstanceConcurrency: perInstanceConcurrency
  }
}

module alerts 'alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    applicationInsightsId: app.outputs.applicationInsightsId
    email: alertEmail
  }
}

output AZURE_RESOURCE_GROUP string = group.name
output APP_NAME string = app.outputs.name
output APP_URL string = 'https://${app.outputs.hostName}'
