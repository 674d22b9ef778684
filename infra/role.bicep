// The one role that the app has on an Azure OpenAI resource: it may use it, and neither change it nor read its keys.
param openAiName string
param principalId string

// Cognitive Services OpenAI User
var roleDefinition = '5e0bd9bd-7b93-4f28-af87-19fc36ad61bd'

resource openAi 'Microsoft.CognitiveServices/accounts@2024-10-01' existing = {
  name: openAiName
}

resource assignment 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(openAi.id, principalId, roleDefinition)
  scope: openAi
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleDefinition)
    principalId: principalId
    principalType: 'ServicePrincipal'
  }
}

// Not properties.endpoint: a resource of kind AIServices states another host there than the realtime API's.
output endpoint string = 'https://${openAi.properties.customSubDomainName}.openai.azure.com'
